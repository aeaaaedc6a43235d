import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fsl_sage_flwr.data import (
    DATASETS,
    DatasetEntry,
    DatasetError,
    Distribution,
    ImageDataset,
    load_images,
    partition_indices,
)

from ...tables import pictures, write_split

pytestmark = pytest.mark.usefixtures("own_datasets")


@pytest.fixture(params=["hub", "copy"])
def named(request, tmp_path, monkeypatch):
    """Return a function: a dataset's name, as the hub's or as a local copy's."""

    def name_of(name):
        folder = tmp_path / "d"
        if request.param == "copy":
            return f"{name}:{folder}"
        load, places = datasets.load_dataset, {DATASETS[name].hub_name: str(folder)}
        monkeypatch.setattr(datasets, "load_dataset", lambda s: load(places.get(s, s)))
        return name

    return name_of


@pytest.mark.slow
def test_cifar100_has_the_fine_labels(tmp_path, named):
    for split in ("train", "test"):
        write_split(
            tmp_path / "d", split, pictures(4), [99, 0, 7, 3],
            image="img", label="fine_label", classes=100, more={"coarse_label": [1, 0, 2, 0]},
        )  # fmt: skip
    train, test = load_images(named("cifar100"))
    assert train.num_classes == test.num_classes == 100
    assert train.labels.tolist() == [99, 0, 7, 3]


def femnist(folder, writers, size=(28, 28)):
    """Write the one split that there is; an image's first pixel is its row number."""
    images = pictures(len(writers), size)
    for row, image in enumerate(images):
        image[0, 0] = row
    labels = [row % 62 for row in range(len(writers))]
    write_split(
        folder, "train", images, labels,
        label="character", classes=62, more={"writer_id": writers, "hsf_id": [0] * len(writers)},
    )  # fmt: skip
    return images


@pytest.mark.slow
def test_femnist_is_divided_by_rows_and_always_alike(tmp_path, named):
    images = femnist(tmp_path / "d", [f"f{row // 7:04}_14" for row in range(80)])
    train, test = load_images(named("femnist"))
    assert (len(train.labels), len(test.labels)) == (72, 8)
    assert (train.num_classes, train.image_shape) == (62, (1, 28, 28))
    rows = [split.decode()[0][:, 0, 0, 0].long() for split in (train, test)]
    assert sorted(torch.cat(rows).tolist()) == list(range(80))
    for split, own in zip((train, test), rows, strict=True):
        assert torch.equal(split.labels, own % 62)
        assert torch.equal(split.decode()[0][:, 0], torch.from_numpy(np.stack(images))[own])
    load_images.cache_clear()
    assert torch.equal(load_images("femnist:" + str(tmp_path / "d"))[1].labels, test.labels)
    assert train.natural_ids().tolist() == (rows[0] // 7).tolist()


@pytest.mark.slow
def test_femnists_writers_are_dealt_whole(tmp_path):
    femnist(tmp_path / "d", [f"f{row % 12:04}_14" for row in range(240)])
    train, _ = load_images(f"femnist:{tmp_path / 'd'}")
    ids = train.natural_ids()
    parts = partition_indices(train.labels, 5, Distribution("natural", seed=4), ids)
    writers = [set(ids[part].tolist()) for part in parts]
    assert sorted(writer for own in writers for writer in own) == list(range(12))


@pytest.mark.slow
def test_tinyimagenet_is_all_colour_whatever_comes_first(tmp_path, named):
    grey, colour = pictures(1, (64, 64))[0], pictures(1, (64, 64, 3))[0]
    for split in ("train", "valid"):
        write_split(tmp_path / "d", split, [grey, colour], [0, 199], classes=200)
    train, test = load_images(named("tinyimagenet"))
    assert train.image_shape == test.image_shape == (3, 64, 64)
    images, _ = train.decode()
    assert torch.equal(images[0], torch.from_numpy(grey).expand(3, 64, 64))
    assert torch.equal(images[1], torch.from_numpy(colour).permute(2, 0, 1))


@pytest.mark.slow
def test_imagenet_is_resized_and_cropped_in_the_centre(tmp_path, named):
    wide = np.zeros((128, 384, 3), dtype=np.uint8)
    wide[:, 128:256] = 200  # what a centre crop of the image's height keeps
    wide[:, :128, 0] = 90
    splits = {"train": [wide, *pictures(1, (70, 90))], "validation": pictures(2, (64, 64, 3))}
    for split, images in splits.items():
        write_split(tmp_path / "d", split, images, [0, 999], classes=1000)
    unlabelled = [-1, -1]
    write_split(tmp_path / "d", "test", pictures(2, (5, 5, 3)), unlabelled, classes=1000)
    train, test = load_images(named("imagenet"))
    images, labels = train.decode()
    assert images.shape == (2, 3, 64, 64)
    assert labels.tolist() == [0, 999]
    assert images[0, :, :, 2:-2].min() == 200  # the crop's edges blend with what is beside it
    expected = torch.from_numpy(np.stack(splits["validation"])).permute(0, 3, 1, 2)
    assert torch.equal(test.decode()[0], expected)


@pytest.mark.slow
def test_a_resized_image_has_the_proportions_it_had(tmp_path):
    tall = Image.fromarray(pictures(1, (96, 64, 3))[0])
    write_split(tmp_path / "d", "train", [np.asarray(tall)] * 2, [0, 1], classes=1000)
    write_split(tmp_path / "d", "validation", [np.asarray(tall)], [0], classes=1000)
    images, _ = load_images(f"imagenet:{tmp_path / 'd'}")[0].decode()
    cropped = torch.from_numpy(np.array(tall.crop((0, 16, 64, 80)))).permute(2, 0, 1)
    assert torch.equal(images[0], cropped)


def test_refuses_another_label_column_than_the_entrys(tmp_path):
    for split in ("train", "test"):
        write_split(tmp_path / "d", split, pictures(2), [0, 1])
    message = r"needs an image column and a label column 'fine_label'; its columns are image, label"
    with pytest.raises(DatasetError, match=message):
        load_images(f"cifar100:{tmp_path / 'd'}")


def test_refuses_a_copy_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match=rf"dataset directory '{tmp_path}/no' does not exist"):
        load_images(f"femnist:{tmp_path}/no")


def test_an_unreachable_hub_is_one_line():
    with pytest.raises(DatasetError, match=r"'cifar100' cannot be loaded .*local copy") as caught:
        load_images("cifar100")
    assert "\n" not in str(caught.value)


def test_a_registered_dataset_is_found_by_name():
    made = ImageDataset(torch.zeros(2).long(), 1, (1, 2, 2), torch.zeros(2, 1, 2, 2).byte())
    DATASETS.register("blank", DatasetEntry(load=lambda: (made, made)))
    try:
        assert load_images("blank") == (made, made)
        with pytest.raises(ValueError, match=r"'blank' is registered already"):
            DATASETS.register("blank", DatasetEntry("someone/blank"))
    finally:
        DATASETS.remove("blank")


@pytest.mark.parametrize("name", ["", "/abs", "a:b"])
def test_refuses_a_name_that_reads_like_a_path(name):
    with pytest.raises(ValueError, match="choose one without"):
        DATASETS.register(name, DatasetEntry("someone/something"))
