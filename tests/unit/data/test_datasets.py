import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fsl_sage_flwr.data import DATASETS, DatasetError, load_images

CLASSES = datasets.ClassLabel(names=["cat", "dog", "owl"])


pytestmark = pytest.mark.usefixtures("own_datasets")


def pixels(count, shape=(5, 6, 3), seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def write(folder, splits, *, image="img", label="label", feature=CLASSES):
    """Write splits, each (arrays, labels), as parquet files in a folder; return its name."""
    folder.mkdir(exist_ok=True)
    for split, (arrays, labels) in splits.items():
        columns = {image: [Image.fromarray(array) for array in arrays], label: labels}
        features = datasets.Features({image: datasets.Image(), label: feature})
        table = datasets.Dataset.from_dict(columns, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_digits():
    train, test = load_images("digits")
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    for split in (train, test):
        images, labels = split.decode()
        assert images.shape == (len(labels), 1, 8, 8)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert split.image_shape == (1, 8, 8)
        assert split.num_classes == 10
        assert labels.unique().tolist() == list(range(10))
        assert (images.min(), images.max()) == (0, 255)


def test_digits_are_split_evenly_and_without_overlap():
    from sklearn.datasets import load_digits

    (train, train_y), (test, test_y) = (split.decode() for split in load_images("digits"))
    both = torch.cat([train, test]).flatten(1)
    everything = torch.from_numpy(load_digits().data) * (255 / 16)
    expected = sorted(map(tuple, everything.round().long().tolist()))
    assert sorted(map(tuple, both.long().tolist())) == expected
    share = test_y.bincount() / (train_y.bincount() + test_y.bincount())
    assert (share - 0.2).abs().max() < 0.01


def test_digits_are_scikit_learns_in_the_order_of_its_split():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    expected = train_test_split(
        images, bunch.target, test_size=0.2, random_state=0, stratify=bunch.target
    )
    (train, train_y), (test, test_y) = (split.decode() for split in load_images("digits"))
    for ours, theirs in zip((train, test, train_y, test_y), expected, strict=True):
        assert torch.equal(ours, torch.from_numpy(theirs))
    # The memory layout, by which a convolution chooses the order of its additions.
    strides = [split.images.stride() for split in load_images("digits")]
    assert strides == [torch.from_numpy(part).stride() for part in expected[:2]]


def test_a_split_is_decoded_in_part():
    train, _ = load_images("digits")
    images, labels = train.decode()
    some, some_labels = train.decode([7, 3, 7])
    assert torch.equal(some, images[[7, 3, 7]])
    assert torch.equal(some_labels, labels[[7, 3, 7]])


def test_local_directory(tmp_path):
    train, test = pixels(4), pixels(2, seed=1)
    name = write(tmp_path / "d", {"train": (train, [2, 0, 1, 2]), "test": (test, [1, 0])})
    loaded_train, loaded_test = load_images(name)
    images, labels = loaded_train.decode()
    assert torch.equal(images, torch.from_numpy(np.stack(train)).permute(0, 3, 1, 2))
    assert images.dtype == torch.uint8
    assert images.is_contiguous()
    assert labels.tolist() == [2, 0, 1, 2]
    assert loaded_train.num_classes == 3
    assert loaded_train.image_shape == (3, 5, 6)
    assert loaded_test.labels.tolist() == [1, 0]
    some, some_labels = loaded_train.decode([3, 1])
    assert torch.equal(some, images[[3, 1]])
    assert some_labels.tolist() == [2, 0]


def test_no_column_is_read_row_by_row(tmp_path, monkeypatch):
    """It takes a hundred times as long: nine seconds for the labels of CIFAR-10."""

    def refuse(self):
        raise AssertionError("row by row")

    monkeypatch.setattr(datasets.arrow_dataset.Column, "__iter__", refuse)
    name = write(tmp_path / "d", {"train": (pixels(4), [2, 0, 1, 2]), "test": (pixels(2), [1, 0])})
    train, _ = load_images(name)
    assert train.decode()[1].tolist() == [2, 0, 1, 2]


def test_columns_of_any_name(tmp_path):
    splits = {"train": (pixels(2), [1, 2]), "test": (pixels(2), [0, 1])}
    name = write(tmp_path / "d", splits, image="picture", label="kind")
    train, _ = load_images(name)
    assert train.labels.tolist() == [1, 2]
    assert train.decode()[0].shape == (2, 3, 5, 6)


def test_whole_numbers_as_labels(tmp_path):
    splits = {"train": (pixels(3), [2, 0, 1]), "test": (pixels(1), [0])}
    name = write(tmp_path / "d", splits, feature=datasets.Value("int32"))
    train, _ = load_images(name)
    assert train.labels.tolist() == [2, 0, 1]
    assert train.labels.dtype == torch.int64
    assert train.num_classes == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 2, 3], "are 3 different numbers from 1 to 3; plain numbers must be 0 to 2"),
        ([4, 0, 2], "are 3 different numbers from 0 to 4"),
        ([0, 1, 2_000_000_000], "are 3 different numbers from 0 to 2000000000"),
    ],
)
def test_refuses_plain_numbers_that_are_not_all_classes(tmp_path, labels, said):
    splits = {"train": (pixels(3), labels), "test": (pixels(1), labels[:1])}
    name = write(tmp_path / "d", splits, feature=datasets.Value("int64"))
    with pytest.raises(DatasetError, match=said):
        load_images(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feature", "labels", "said"),
    [
        (datasets.List(datasets.Value("int64")), [[0], [1]], "holds List; one whole number per"),
        (datasets.Value("int64"), [0, None], "holds nothing in 1 of 2 rows"),
        (CLASSES, [0, None], "holds nothing in 1 of 2 rows"),
        (datasets.Value("float32"), [0.0, 1.5], "holds float32"),
    ],
)
def test_refuses_labels_that_are_no_numbers(tmp_path, feature, labels, said):
    splits = {"train": (pixels(2), labels), "test": (pixels(2), labels)}
    with pytest.raises(DatasetError, match=said):
        load_images(write(tmp_path / "d", splits, feature=feature))


def test_refuses_classes_in_another_order(tmp_path):
    """`datasets` gives every file the names of the first: labels would be swapped."""
    name = write(tmp_path / "d", {"train": (pixels(2), [0, 1])})
    other = datasets.ClassLabel(names=["dog", "cat", "owl"])
    write(tmp_path / "d", {"test": (pixels(2), [0, 1])}, feature=other)
    message = r"test-0.*parquet names the classes of 'label' dog, cat, owl; another file cat, dog"
    with pytest.raises(DatasetError, match=message):
        load_images(name)


def test_grey_images(tmp_path):
    grey = pixels(3, shape=(5, 6))
    name = write(tmp_path / "d", {"train": (grey, [0, 1, 2]), "test": (grey, [0, 1, 2])})
    train, _ = load_images(name)
    assert train.image_shape == (1, 5, 6)
    images, _ = train.decode()
    assert torch.equal(images, torch.from_numpy(np.stack(grey))[:, None])


def test_a_grey_image_among_colour_ones_becomes_colour(tmp_path):
    colour, grey = pixels(1)[0], pixels(1, shape=(5, 6))[0]
    splits = {"train": ([colour, grey], [0, 1]), "test": ([colour], [0])}
    images, _ = load_images(write(tmp_path / "d", splits))[0].decode()
    assert torch.equal(images[1], torch.from_numpy(grey).expand(3, 5, 6))


@pytest.mark.slow
@pytest.mark.parametrize("colour_split", ["train", "test"])
def test_a_first_image_that_is_grey_does_not_make_a_dataset_grey(tmp_path, colour_split):
    grey, colour = pixels(3, shape=(5, 6)), pixels(1)[0]
    splits = {"train": (grey, [0, 1, 2]), "test": (grey, [0, 1, 2])}
    splits[colour_split] = ([*grey[:2], colour], [0, 1, 2])
    for split in load_images(write(tmp_path / "d", splits)):
        assert split.image_shape == (3, 5, 6)
        assert split.decode()[0].shape == (3, 3, 5, 6)


def test_refuses_a_colour_image_that_was_not_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("fsl_sage_flwr.data.datasets.LOOKED_AT", 2)
    arrays = [pixels(1, shape=(5, 6))[0], *pixels(1), pixels(1, shape=(5, 6))[0]]
    splits = {"train": (arrays, [0, 1, 2]), "test": (arrays[:1], [0])}
    train, _ = load_images(write(tmp_path / "d", splits))
    assert train.image_shape == (1, 5, 6)
    with pytest.raises(DatasetError, match=r"a colour image \(mode RGB\) is among grey ones"):
        train.decode()


def test_splits_of_plain_numbers_have_their_classes_in_common(tmp_path):
    splits = {"train": (pixels(3), [1, 0, 2]), "test": (pixels(2), [0, 3])}
    name = write(tmp_path / "d", splits, feature=datasets.Value("int32"))
    assert [split.num_classes for split in load_images(name)] == [4, 4]


def test_refuses_splits_of_different_sizes(tmp_path):
    splits = {"train": (pixels(2), [0, 1]), "test": (pixels(2, shape=(7, 6, 3)), [0, 1])}
    message = r"images of 5x6 and 7x6 pixels \(height x width\); one size is needed"
    with pytest.raises(DatasetError, match=message):
        load_images(write(tmp_path / "d", splits))


def test_transparent_images_become_colour(tmp_path):
    arrays = pixels(2, shape=(5, 6, 4))
    splits = {"train": (arrays, [0, 1]), "test": (arrays, [0, 1])}
    train, _ = load_images(write(tmp_path / "d", splits))
    images, _ = train.decode()
    assert torch.equal(images, torch.from_numpy(np.stack(arrays))[..., :3].permute(0, 3, 1, 2))


def test_refuses_images_of_several_sizes(tmp_path):
    arrays = [*pixels(1), *pixels(1, shape=(7, 6, 3))]
    splits = {"train": (arrays, [0, 1]), "test": (arrays[:1], [0])}
    train, _ = load_images(write(tmp_path / "d", splits))
    with pytest.raises(DatasetError, match=r"images of one size are needed; found .*5, 6.*7, 6"):
        train.decode()


def test_refuses_a_directory_that_is_not_there(tmp_path):
    message = rf"'{tmp_path}/nowhere' does not exist; give {', '.join(DATASETS)} or the absolute"
    with pytest.raises(DatasetError, match=message):
        load_images(f"{tmp_path}/nowhere")


def test_refuses_a_directory_without_data(tmp_path):
    with pytest.raises(DatasetError, match=rf"dataset '{tmp_path}' cannot be loaded"):
        load_images(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_refuses_a_missing_split(tmp_path, split):
    name = write(tmp_path / "d", {split: (pixels(2), [0, 1])})
    missing = "test" if split == "train" else "train"
    message = rf"has no split '{missing}'; its splits are {split}"
    with pytest.raises(DatasetError, match=message):
        load_images(name)


def test_refuses_a_missing_label_column(tmp_path):
    splits = {"train": (pixels(2), [0, 1]), "test": (pixels(2), [0, 1])}
    name = write(tmp_path / "d", splits, label="weight", feature=datasets.Value("int64"))
    message = r"needs an image column and a label column; its columns are img, weight"
    with pytest.raises(DatasetError, match=message):
        load_images(name)


def test_refuses_a_missing_image_column(tmp_path):
    for split in ("train", "test"):
        table = datasets.Dataset.from_dict({"x": [1.0, 2.0], "label": [0, 1]})
        table.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match=r"needs an image column and a label column"):
        load_images(str(tmp_path))


def test_refuses_labels_that_are_text(tmp_path):
    splits = {"train": (pixels(2), ["cat", "dog"]), "test": (pixels(2), ["cat", "dog"])}
    name = write(tmp_path / "d", splits, feature=datasets.Value("string"))
    with pytest.raises(DatasetError, match=r"label"):
        load_images(name)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["train", "test"])
def test_refuses_labels_out_of_range(tmp_path, broken):
    splits = {"train": (pixels(2), [0, 1]), "test": (pixels(2), [0, 1])}
    splits[broken] = (pixels(2), [0, -1])  # what the hub's unlabelled splits hold
    name = write(tmp_path / "d", splits)
    with pytest.raises(DatasetError, match=r"label"):
        load_images(name)


def test_refuses_an_empty_split(tmp_path, monkeypatch):
    full = datasets.load_dataset(write(tmp_path / "d", {"train": (pixels(2), [0, 1])}))
    empty = datasets.DatasetDict(train=full["train"], test=full["train"].select([]))
    monkeypatch.setattr(datasets, "load_dataset", lambda source: empty)
    with pytest.raises(DatasetError, match=r"has a split without examples"):
        load_images(str(tmp_path / "d"))


def test_a_dataset_is_loaded_once():
    assert load_images("digits")[0] is load_images("digits")[0]
