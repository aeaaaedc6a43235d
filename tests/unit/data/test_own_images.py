"""A node's own data, from ``data-path`` in its configuration."""

import pytest

from fsl_sage_flwr.data import DatasetError, load_own_images

from ...tables import pictures, write_split

pytestmark = pytest.mark.usefixtures("own_datasets")


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_only_split_is_taken_whole(tmp_path, split):
    folder = write_split(tmp_path / "d", split, pictures(4), [2, 0, 0, 2])
    own = load_own_images(folder, "digits")
    assert own.labels.tolist() == [2, 0, 0, 2]
    assert (own.num_classes, own.image_shape) == (3, (3, 5, 6))
    assert own.decode()[0].shape == (4, 3, 5, 6)


def test_of_several_splits_train_is_taken(tmp_path):
    write_split(tmp_path / "d", "train", pictures(3), [0, 1, 1])
    folder = write_split(tmp_path / "d", "test", pictures(2), [0, 1])
    assert load_own_images(folder, "cifar10").labels.tolist() == [0, 1, 1]


def test_it_is_read_like_the_runs_dataset(tmp_path):
    """The same label column where it has one so called, and the same image shape."""
    folder = write_split(
        tmp_path / "d", "train", pictures(3, (40, 30, 3)), [0, 1, 61],
        label="character", classes=62, more={"label": [5, 5, 5]},
    )  # fmt: skip
    own = load_own_images(folder, "femnist:/not/on/this/node")
    assert own.labels.tolist() == [0, 1, 61]
    assert own.decode()[0].shape == (3, 1, 28, 28)


def test_another_name_of_the_label_column_is_found(tmp_path):
    folder = write_split(tmp_path / "d", "train", pictures(2), [0, 1], label="diagnosis")
    assert load_own_images(folder, "cifar100").labels.tolist() == [0, 1]


def test_refuses_plain_numbers_as_labels(tmp_path):
    folder = write_split(tmp_path / "d", "train", pictures(2), [0, 1], classes=None)
    message = r"plain numbers, which do not state the number of classes.* datasets.ClassLabel"
    with pytest.raises(DatasetError, match=message):
        load_own_images(folder, "cifar10")


@pytest.mark.parametrize("path", ["", "data/own", "/no/such/place"])
def test_refuses_what_is_no_directory(path):
    with pytest.raises(DatasetError, match=rf"data-path = '{path}' is no directory; give the abs"):
        load_own_images(path, "cifar10")


def test_refuses_several_splits_without_train(tmp_path):
    write_split(tmp_path / "d", "validation", pictures(2), [0, 1])
    folder = write_split(tmp_path / "d", "test", pictures(2), [0, 1])
    with pytest.raises(DatasetError, match=r"has no split 'train'; its splits are"):
        load_own_images(folder, "cifar10")


def test_refuses_a_single_example(tmp_path):
    folder = write_split(tmp_path / "d", "train", pictures(1), [0])
    with pytest.raises(DatasetError, match=r"every client needs at least two"):
        load_own_images(folder, "cifar10")
