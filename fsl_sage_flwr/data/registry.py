"""Datasets by name.

Column and split names of the hub's datasets were taken from their cards and viewers and from
public code that loads them. None was downloaded where this was written: the tests read
tiny copies with the same columns and splits.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .digits import digits
from .image_dataset import ImageDataset


@dataclass(frozen=True)
class DatasetEntry:
    """How a dataset is read.

    Attributes
    ----------
    hub_name : str
        Name on the Hugging Face hub; empty where ``load`` is given.
    label : str
        Column of labels; empty: the first ClassLabel column, else one called ``label``,
        ``labels`` or ``fine_label``.
    train : str
        Split to train on.
    test : str
        Split to test on; empty: there is none, and a tenth of the rows of ``train``, drawn
        once and for all, is divided off.
    image_shape : tuple of int, optional
        ``(C, H, W)`` that every image is made to have, by resizing and a centre crop; None:
        all images have one size already.
    id_column : str
        Column that says whose each example is, for ``distribution = "natural"``; empty:
        the first of ``writer_id``, ``user_id`` and ``client_id`` that is there.
    load : callable, optional
        Returns (train, test) by itself; nothing above counts then.
    """

    hub_name: str = ""
    label: str = ""
    train: str = "train"
    test: str = "test"
    image_shape: tuple[int, int, int] | None = None
    id_column: str = ""
    load: Callable[[], tuple[ImageDataset, ImageDataset]] | None = None


DATASETS: dict[str, DatasetEntry] = {}


def register_dataset(name: str, entry: DatasetEntry) -> None:
    """Add a dataset, so that ``dataset = "name"`` means it.

    The module that does so must be imported by server and clients alike.

    Raises
    ------
    ValueError
        The name is taken, or could be mistaken for a path.
    """
    if name in DATASETS:
        raise ValueError(f"dataset {name!r} is registered already; choose another name")
    if not name or "/" in name or ":" in name:
        raise ValueError(f"dataset name {name!r}: choose one without '/' and ':'")
    DATASETS[name] = entry


def local_copy(text: str) -> tuple[DatasetEntry, str] | None:
    """Return the entry and the directory that ``name:directory`` means; None: it is not that."""
    name, colon, directory = text.partition(":")
    entry = DATASETS.get(name)
    return (entry, directory) if colon and entry is not None and entry.load is None else None


register_dataset("digits", DatasetEntry(load=digits))
register_dataset("cifar10", DatasetEntry("uoft-cs/cifar10", label="label"))
register_dataset("cifar100", DatasetEntry("uoft-cs/cifar100", label="fine_label"))
# One split alone, of 814,000 rows by 3,597 writers.
register_dataset(
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
register_dataset(
    "tinyimagenet",
    DatasetEntry("zh-plus/tiny-imagenet", label="label", test="valid", image_shape=(3, 64, 64)),
)
# ILSVRC/imagenet-1k with every image 64 pixels wide and high. The original is gated, 150 GB,
# and a client's decoded part would not fit in memory; a local copy of it is read, and resized,
# with dataset = "imagenet:/abs/path". Labels of the hub's test split are all -1.
register_dataset(
    "imagenet",
    DatasetEntry(
        "benjamin-paine/imagenet-1k-64x64",
        label="label",
        test="validation",
        image_shape=(3, 64, 64),
    ),
)
