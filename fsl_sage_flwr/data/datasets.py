"""Read image classification datasets, by name or from a local directory."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .image_dataset import GREY_MODES, DatasetError, ImageDataset
from .registry import DATASETS, DatasetEntry, local_copy

if TYPE_CHECKING:
    import datasets

ID_COLUMNS = ("writer_id", "user_id", "client_id")
LABEL_COLUMNS = ("label", "labels", "fine_label")
# For a local copy, `datasets` gives the name validation to a split that the hub calls valid.
VALIDATION = ("validation", "valid", "val")
TEST_SHARE = 0.1
LOOKED_AT = 100


@lru_cache(maxsize=4)
def load_images(name: str) -> tuple[ImageDataset, ImageDataset]:
    """Return the training and the test split of a dataset.

    Parameters
    ----------
    name : str
        A name in ``DATASETS``; or the absolute path of a directory that
        ``datasets.load_dataset`` can read, with an image column, a label column and the
        splits ``train`` and ``test``; or ``name:path``, a local copy of a named dataset.

    Raises
    ------
    DatasetError
        The directory, a split or a column is missing, the splits do not fit each other, or
        the hub cannot be reached.
    """
    entry, directory = _entry(name)
    if entry.load is not None and not directory:
        return entry.load()
    splits = _load(directory or entry.hub_name, name)
    wanted = [entry.train, _called(entry.test, splits)] if entry.test else [entry.train]
    missing = [split for split in wanted if split not in splits]
    if missing:
        raise DatasetError(
            f"dataset {name!r} has no split {missing[0]!r}; its splits are {', '.join(splits)}"
        )
    tables = [splits[split] for split in wanted]
    if not entry.test:
        tables = _divided(tables[0], name)
    train, test = _read(tables, entry, name)
    return train, test


@lru_cache(maxsize=4)
def load_own_images(path: str, name: str) -> ImageDataset:
    """Return all of a node's own data, read in the same way as the run's dataset.

    Parameters
    ----------
    path : str
        Absolute path of a directory that ``datasets.load_dataset`` can read. Its ``train``
        split is used, or its only split.
    name : str
        The run's dataset. Its entry gives the label column and the image size.

    Raises
    ------
    DatasetError
        The data cannot be used. Labels must be a ClassLabel column: plain numbers do not
        tell a node how many classes there are if it has no examples of some of them.
    """
    known, _ = _entry(name, must_exist=False)
    what = f"{path} (data-path)"
    if not Path(path).is_absolute() or not Path(path).is_dir():
        raise DatasetError(
            f"data-path = {path!r} is no directory; give the absolute path of this node's data"
        )
    splits = _load(path, what)
    if known.train not in splits and len(splits) > 1:
        raise DatasetError(
            f"dataset {what!r} has no split {known.train!r}; its splits are {', '.join(splits)}"
        )
    table = splits[known.train] if known.train in splits else next(iter(splits.values()))
    label = known.label if known.label in table.column_names else ""
    entry = DatasetEntry(label=label, image_shape=known.image_shape)
    (own,) = _read([table], entry, what, counted=True)
    if len(own.labels) < 2:
        raise DatasetError(f"dataset {what!r} has 1 example; every client needs at least two")
    return own


def is_here(name: str) -> bool:
    """Tell whether a dataset can be read without a download."""
    entry, directory = _entry(name, must_exist=False)
    return bool(directory) or entry.load is not None


def _entry(name: str, *, must_exist: bool = True) -> tuple[DatasetEntry, str]:
    """Return the dataset's entry, and its local directory or ``""``."""
    if name in DATASETS:
        return DATASETS[name], ""
    entry, directory = local_copy(name) or (DatasetEntry(), name)
    if must_exist and not Path(directory).is_dir():
        wrong = "is a file" if Path(directory).exists() else "does not exist"
        raise DatasetError(
            f"dataset directory {directory!r} {wrong}; give {', '.join(DATASETS)} or the "
            "absolute path of a directory"
        )
    return entry, directory


def _load(source: str, name: str) -> dict[str, datasets.Dataset]:
    import datasets

    try:
        return dict(datasets.load_dataset(source))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        why = " ".join(str(error).split())
        raise DatasetError(
            f"dataset {name!r} cannot be loaded ({why}); without a network give the "
            "absolute path of a local copy"
        ) from error


def _called(split: str, splits: Container[str]) -> str:
    """Return the name of ``split`` in ``splits``: the validation split has several names."""
    if split in splits or split not in VALIDATION:
        return split
    return next((other for other in VALIDATION if other in splits), split)


def _divided(table: datasets.Dataset, name: str) -> list[datasets.Dataset]:
    """Divide a table into training and test rows, in the same way for every run."""
    kept_out = max(1, round(TEST_SHARE * len(table)))
    if len(table) <= kept_out:
        raise DatasetError(f"dataset {name!r} has {len(table)} examples: too few to divide")
    order = np.random.default_rng(0).permutation(len(table))
    return [table.select(np.sort(rows)) for rows in (order[kept_out:], order[:kept_out])]


def _read(
    tables: Sequence[datasets.Dataset], entry: DatasetEntry, name: str, *, counted: bool = False
) -> list[ImageDataset]:
    """Read splits of one dataset; all get the same number of classes and image shape.

    ``counted``: the label column must state the number of classes.
    """
    import datasets

    if not all(len(table) for table in tables):
        raise DatasetError(f"dataset {name!r} has a split without examples")
    # Splits that were loaded together have the same columns and types.
    image, label = _columns(tables[0], entry, name)
    labels = [_labels(table, label, name) for table in tables]
    classes = _classes(tables[0].features[label], labels, name, counted=counted)
    feature = tables[0].features[label]
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else ()
    shape = entry.image_shape or _shape(tables, image, name)
    person = _id_column(tables[0], entry)
    # What is read of a row is all that the table has left.
    kept = [image, person] if person else [image]
    return [
        ImageDataset(
            labels=own_labels,
            num_classes=classes,
            image_shape=shape,
            images=table.select_columns(kept),
            column=image,
            id_column=person,
            fitted=entry.image_shape is not None,
            class_names=names,
        )
        for table, own_labels in zip(tables, labels, strict=True)
    ]


def _columns(table: datasets.Dataset, entry: DatasetEntry, name: str) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    import datasets

    image = [c for c, f in table.features.items() if isinstance(f, datasets.Image)]
    label = [c for c, f in table.features.items() if isinstance(f, datasets.ClassLabel)]
    label += [c for c in LABEL_COLUMNS if c in table.features]
    if entry.label:
        label = [entry.label] if entry.label in table.features else []
    if not image or not label:
        called = f" {entry.label!r}" if entry.label else ""
        raise DatasetError(
            f"dataset {name!r} needs an image column and a label column{called}; "
            f"its columns are {', '.join(table.column_names)}"
        )
    return image[0], label[0]


def _id_column(table: datasets.Dataset, entry: DatasetEntry) -> str:
    candidates = (entry.id_column,) if entry.id_column else ID_COLUMNS
    return next((column for column in candidates if column in table.features), "")


def _labels(table: datasets.Dataset, column: str, name: str) -> Tensor:
    # Not the column alone, which numpy reads row by row: a hundred times as long.
    values = np.asarray(table.with_format("numpy")[column][:])
    if not np.issubdtype(values.dtype, np.integer):
        raise DatasetError(
            f"the label column {column!r} of dataset {name!r} holds {values.dtype}; whole "
            "numbers are needed: cast it to ClassLabel"
        )
    return torch.from_numpy(values.astype(np.int64))


def _classes(feature: object, labels: Sequence[Tensor], name: str, *, counted: bool) -> int:
    """Return the number of classes of all splits together."""
    import datasets

    named = feature.num_classes if isinstance(feature, datasets.ClassLabel) else None
    if counted and named is None:
        raise DatasetError(
            f"the labels of dataset {name!r} are plain numbers, which do not tell how many classes "
            "there are: cast the column to datasets.ClassLabel with the run's classes"
        )
    lowest = min(int(own.min()) for own in labels)
    highest = max(int(own.max()) for own in labels)
    classes = highest + 1 if named is None else int(named)
    if not 0 <= lowest <= highest < classes:
        raise DatasetError(
            f"the labels of dataset {name!r} run from {lowest} to {highest}; valid are 0 to "
            f"{max(classes - 1, 0)}"
        )
    return classes


def _shape(tables: Sequence[datasets.Dataset], column: str, name: str) -> tuple[int, int, int]:
    """Return the images' shape: colour if one of the checked images of any split is colour."""
    firsts = [table[0][column].size for table in tables]
    if len(set(firsts)) > 1:
        sizes = " and ".join(f"{height}x{width}" for width, height in firsts)
        raise DatasetError(
            f"the splits of dataset {name!r} have images of {sizes} pixels (height x width); "
            "one size is needed"
        )
    grey = all(
        image.mode in GREY_MODES
        for table in tables
        for image in table.select(_spread(len(table)))[column][:]
    )
    width, height = firsts[0]
    return (1 if grey else 3, height, width)


def _spread(count: int) -> list[int]:
    """Return up to ``LOOKED_AT`` row numbers, spread evenly over a table."""
    return sorted({int(row) for row in np.linspace(0, count - 1, LOOKED_AT)})
