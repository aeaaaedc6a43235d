"""Read image classification datasets, by name or from a local directory."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from .eight_bits import is_grey, refuse_low_range
from .errors import DatasetError
from .image_dataset import ImageDataset
from .pictures import read_images
from .registry import DATASETS, DatasetEntry, local_copy
from .tables import read_tables, refuse_other_class_names

if TYPE_CHECKING:
    import datasets

IMAGE_COLUMNS = ("image", "img")
ID_COLUMNS = ("writer_id", "user_id", "client_id")
LABEL_COLUMNS = ("label", "labels", "fine_label")
# `datasets` calls a local split validation that the hub calls valid.
VALIDATION = ("validation", "valid", "val")
TEST_SHARE = 0.1
LOOKED_AT = 100
LOOKED_AT_IF_FITTED = 4
# Number of images per split that are decoded before a run starts.
LOOKED_THROUGH = 1000


@lru_cache(maxsize=4)
def load_images(
    name: str, image_column: str = "", label_column: str = ""
) -> tuple[ImageDataset, ImageDataset]:
    """Return the training and the test split of a dataset.

    Parameters
    ----------
    name : str
        A name in ``DATASETS``; the absolute path of a directory that ``datasets.load_dataset`` can
        read, with an image column, a label column and the splits ``train`` and ``test``; or
        ``name:path``, a local copy of a named dataset.
    image_column, label_column : str
        Names of the columns; empty for the defaults of :class:`DatasetEntry`.

    Raises
    ------
    DatasetError
        The directory, a split or a column is missing, several columns fit, the splits do not
        fit each other, or the hub cannot be reached.
    """
    entry, directory = _entry(name)
    if entry.load is not None and not directory:
        if image_column or label_column:
            raise DatasetError(
                f"dataset {name!r} has no columns; leave data.image-column and "
                "data.label-column out"
            )
        return entry.load()
    entry = replace(entry, image=image_column or entry.image, label=label_column or entry.label)
    splits = read_tables(directory or entry.hub_name, name)
    wanted = [entry.train, _called(entry.test, splits)] if entry.test else [entry.train]
    missing = [split for split in wanted if split not in splits]
    if missing:
        raise DatasetError(
            f"dataset {name!r} has no split {missing[0]!r}; its splits are {', '.join(splits)}"
        )
    tables = [splits[split] for split in wanted]
    if not entry.test:
        tables = _divided(tables[0], name)
    train, test = _read(tables, entry, name, directory)
    return train, test


@lru_cache(maxsize=4)
def load_own_images(
    path: str, name: str, image_column: str = "", label_column: str = ""
) -> ImageDataset:
    """Return all of a node's own data, read like the run's dataset.

    Parameters
    ----------
    path : str
        Absolute path of a directory that ``datasets.load_dataset`` can read. Its ``train``
        split is used, or its only split.
    name : str
        The run's dataset. Its entry gives the label column and the image size.
    image_column, label_column : str
        Names of the run's columns; a node without a column of this name needs exactly one that
        fits.

    Raises
    ------
    DatasetError
        The data cannot be used. Labels must be a ClassLabel column: plain numbers do not give the
        number of classes if a node has no examples of some of them.
    """
    known, _ = _entry(name, must_exist=False)
    what = f"{path} (data-path)"
    if not Path(path).is_absolute() or not Path(path).is_dir():
        raise DatasetError(
            f"data-path = {path!r} is no directory; give the absolute path of this node's data"
        )
    splits = read_tables(path, what)
    if known.train not in splits and len(splits) > 1:
        raise DatasetError(
            f"dataset {what!r} has no split {known.train!r}; its splits are {', '.join(splits)}"
        )
    table = splits[known.train] if known.train in splits else next(iter(splits.values()))
    image, label = (
        wanted if wanted in table.column_names else ""
        for wanted in (image_column or known.image, label_column or known.label)
    )
    entry = DatasetEntry(image=image, label=label, image_shape=known.image_shape)
    (own,) = _read([table], entry, what, path, counted=True)
    if len(own.labels) < 2:
        raise DatasetError(f"dataset {what!r} has 1 example; every client needs at least two")
    return own


@lru_cache(maxsize=4)
def check_images(name: str, image_column: str = "", label_column: str = "") -> None:
    """Decode up to 1,000 images of each split, evenly spaced.

    Raises
    ------
    DatasetError
        As :func:`load_images` and :meth:`ImageDataset.decode`.
    """
    for split in load_images(name, image_column, label_column):
        if not isinstance(split.images, Tensor):
            for row in _spread(len(split.labels), LOOKED_THROUGH):
                split.decode([row])  # one by one, because large images would fill the memory


def is_here(name: str) -> bool:
    """Return whether a dataset can be read without a download."""
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


def _called(split: str, splits: Container[str]) -> str:
    """Return the name of ``split`` in ``splits``; the validation split has several names."""
    if split in splits or split not in VALIDATION:
        return split
    return next((other for other in VALIDATION if other in splits), split)


def _divided(table: datasets.Dataset, name: str) -> list[datasets.Dataset]:
    """Divide a table into training and test rows, equally in every run."""
    kept_out = max(1, round(TEST_SHARE * len(table)))
    if len(table) <= kept_out:
        raise DatasetError(f"dataset {name!r} has {len(table)} examples: too few to divide")
    order = np.random.default_rng(0).permutation(len(table))
    return [table.select(np.sort(rows)) for rows in (order[kept_out:], order[:kept_out])]


def _read(
    tables: Sequence[datasets.Dataset],
    entry: DatasetEntry,
    name: str,
    directory: str,
    *,
    counted: bool = False,
) -> list[ImageDataset]:
    """Read splits of one dataset with a common number of classes and image shape.

    ``directory`` is the path of a local copy, or empty; with ``counted`` the label column must
    state the number of classes.
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
    if names and directory and tables[0].info.builder_name in ("parquet", "arrow"):
        refuse_other_class_names(directory, label, list(names), name)
    looked_at = [_looked_at(table, image, name, entry) for table in tables]
    refuse_low_range((picture for of_split in looked_at for picture in of_split), name)
    shape = entry.image_shape or _shape(looked_at, name)
    person = _id_column(tables[0], entry)
    # Drop all other columns.
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
            label_column=label,
            name=_split_name(table, name),
        )
        for table, own_labels in zip(tables, labels, strict=True)
    ]


def _columns(table: datasets.Dataset, entry: DatasetEntry, name: str) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    import datasets

    images = [c for c, f in table.features.items() if isinstance(f, datasets.Image)]
    labels = [c for c, f in table.features.items() if isinstance(f, datasets.ClassLabel)]
    # Columns of other types are checked for labels when they are read.
    others = {entry.label, *LABEL_COLUMNS} & set(table.features)
    found = {
        "image": _fitting(images, entry.image, IMAGE_COLUMNS),
        "label": _fitting(
            list(dict.fromkeys([*labels, *sorted(others)])), entry.label, LABEL_COLUMNS
        ),
    }
    if not all(found.values()):
        image, label = (f" {wanted!r}" if wanted else "" for wanted in (entry.image, entry.label))
        raise DatasetError(
            f"dataset {name!r} needs an image column{image} and a label column{label}; "
            f"its columns are {', '.join(table.column_names)}: name them with "
            "data.image-column and data.label-column"
        )
    for kind, fitting in found.items():
        if len(fitting) > 1:
            raise DatasetError(
                f"dataset {name!r} has several columns that fit as {kind}: {', '.join(fitting)}; "
                f"name one with data.{kind}-column"
            )
    return found["image"][0], found["label"][0]


def _fitting(columns: Sequence[str], given: str, usual: Sequence[str]) -> list[str]:
    """Return the given column, or else those with a usual name, or else all."""
    if given:
        return [column for column in columns if column == given]
    return [column for column in columns if column in usual] or list(columns)


def _id_column(table: datasets.Dataset, entry: DatasetEntry) -> str:
    candidates = (entry.id_column,) if entry.id_column else ID_COLUMNS
    return next((column for column in candidates if column in table.features), "")


def _labels(table: datasets.Dataset, column: str, name: str) -> Tensor:
    import datasets

    feature = table.features[column]
    if not isinstance(feature, datasets.ClassLabel | datasets.Value):
        raise DatasetError(
            f"the label column {column!r} of dataset {name!r} holds {type(feature).__name__}; one "
            "whole number per image is needed: convert it, or give another data.label-column"
        )
    # Not `table[column]`: numpy reads it row by row, which takes a hundred times as long.
    values = np.asarray(table.with_format("numpy")[column][:])
    if not np.issubdtype(values.dtype, np.integer):
        missing = sum(value is None or value != value for value in values.tolist())
        holds = f"nothing in {missing} of {len(values)} rows" if missing else str(values.dtype)
        raise DatasetError(
            f"the label column {column!r} of dataset {name!r} holds {holds}; whole "
            "numbers are needed: cast it to ClassLabel, or give another data.label-column"
        )
    return torch.from_numpy(values.astype(np.int64))


def _classes(feature: object, labels: Sequence[Tensor], name: str, *, counted: bool) -> int:
    """Return the number of classes of all splits together."""
    import datasets

    named = feature.num_classes if isinstance(feature, datasets.ClassLabel) else None
    if counted and named is None:
        raise DatasetError(
            f"the labels of dataset {name!r} are plain numbers, which do not state the number of "
            "classes: cast the column to datasets.ClassLabel with the run's classes"
        )
    lowest = min(int(own.min()) for own in labels)
    highest = max(int(own.max()) for own in labels)
    if named is None:
        _refuse_gaps(labels, lowest, highest, name)
    classes = highest + 1 if named is None else int(named)
    if not 0 <= lowest <= highest < classes:
        raise DatasetError(
            f"the labels of dataset {name!r} run from {lowest} to {highest}; valid are 0 to "
            f"{max(classes - 1, 0)}"
        )
    return classes


def _refuse_gaps(labels: Sequence[Tensor], lowest: int, highest: int, name: str) -> None:
    """Refuse plain numbers other than 0, 1, 2, …: some classes would have no examples."""
    used = len(torch.unique(torch.cat(list(labels))))
    if lowest != 0 or used != highest + 1:
        raise DatasetError(
            f"the labels of dataset {name!r} are {used} different numbers from {lowest} to "
            f"{highest}; plain numbers must be 0 to {used - 1}: renumber the classes, or cast the "
            "column to datasets.ClassLabel"
        )


def _shape(looked_at: Sequence[Sequence[Image]], name: str) -> tuple[int, int, int]:
    """Return the images' shape, with three channels if a checked image of any split is colour."""
    firsts = [images[0].size for images in looked_at]
    if len(set(firsts)) > 1:
        sizes = " and ".join(f"{height}x{width}" for width, height in firsts)
        raise DatasetError(
            f"the splits of dataset {name!r} have images of {sizes} pixels (height x width); "
            "one size is needed"
        )
    grey = all(is_grey(image) for images in looked_at for image in images)
    width, height = firsts[0]
    return (1 if grey else 3, height, width)


def _looked_at(table: datasets.Dataset, column: str, name: str, entry: DatasetEntry) -> list[Image]:
    """Return a split's images for the check; only a few if the entry gives their shape."""
    most = LOOKED_AT if entry.image_shape is None else LOOKED_AT_IF_FITTED
    return read_images(table, column, _spread(len(table), most), _split_name(table, name))


def _split_name(table: datasets.Dataset, name: str) -> str:
    return f"split {str(table.split)!r} of dataset {name!r}"


def _spread(count: int, most: int) -> list[int]:
    """Return up to ``most`` evenly spaced row numbers of a table."""
    return sorted({int(row) for row in np.linspace(0, count - 1, most)})
