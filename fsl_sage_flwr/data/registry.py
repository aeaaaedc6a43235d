"""The registry of datasets.

The hub datasets' column and split names come from their cards and viewers and from public code
that loads them. The datasets themselves were not downloaded: the tests read tiny copies with the
same columns and splits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..registries import Registry
from .digits import digits
from .image_dataset import ImageDataset


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset that a run can name.

    Attributes
    ----------
    hub_name : str
        Name on the Hugging Face hub; empty if ``load`` is given.
    label : str
        Label column; empty takes ``label``, ``labels`` or ``fine_label``, or else the only
        ClassLabel column.
    train : str
        Training split.
    test : str
        Split to test on; empty makes a tenth of the rows of ``train``, the same in every run, the
        test split.
    image_shape : tuple of int, optional
        ``(C, H, W)`` of every image after resizing and a centre crop; None for images that have
        one size.
    id_column : str
        Column with the person of each example, for ``distribution = "natural"``; empty takes the
        first of ``writer_id``, ``user_id`` and ``client_id`` that exists.
    load : callable, optional
        Returns (train, test); all other attributes are then ignored.
    image : str
        Image column; empty takes ``image`` or ``img``, or else the only image column.
    """

    hub_name: str = ""
    label: str = ""
    train: str = "train"
    test: str = "test"
    image_shape: tuple[int, int, int] | None = None
    id_column: str = ""
    load: Callable[[], tuple[ImageDataset, ImageDataset]] | None = None
    image: str = ""


def _check(name: str, entry: DatasetEntry, registered: Mapping[str, DatasetEntry]) -> None:
    """Refuse a name that reads like a path."""
    if not name or "/" in name or ":" in name:
        raise ValueError(f"dataset name {name!r}: choose one without '/' and ':'")


DATASETS = Registry[DatasetEntry]("dataset", DatasetEntry, _check)
"""Datasets by name: valid for ``dataset``."""


def local_copy(text: str) -> tuple[DatasetEntry, str] | None:
    """Return the entry and the directory of ``name:directory``, or None for any other text."""
    name, colon, directory = text.partition(":")
    entry = DATASETS.get(name)
    return (entry, directory) if colon and entry is not None and entry.load is None else None


DATASETS.register("digits", DatasetEntry(load=digits))
DATASETS.register("cifar10", DatasetEntry("uoft-cs/cifar10", label="label"))
DATASETS.register("cifar100", DatasetEntry("uoft-cs/cifar100", label="fine_label"))
# It has only one split: 814,000 rows by 3,597 writers.
DATASETS.register(
    "femnist",
    DatasetEntry(
        "flwrlabs/femnist",
        label="character",
        test="",
        image_shape=(1, 28, 28),
        id_column="writer_id",
    ),
)
# Some images are grey; the test split has no labels and is not on the hub.
DATASETS.register(
    "tinyimagenet",
    DatasetEntry("zh-plus/tiny-imagenet", label="label", test="valid", image_shape=(3, 64, 64)),
)
# ILSVRC/imagenet-1k with all images resized to 64x64 pixels. The original is gated and takes
# 150 GB, and a client's decoded part of it would not fit in memory. A local copy of the original
# can be used with dataset = "imagenet:/abs/path"; its images are resized when they are read.
# The hub's test split has only -1 as label, so the validation split is used instead.
DATASETS.register(
    "imagenet",
    DatasetEntry(
        "benjamin-paine/imagenet-1k-64x64",
        label="label",
        test="validation",
        image_shape=(3, 64, 64),
    ),
)
