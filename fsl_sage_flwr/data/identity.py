"""Identify data by their content, independent of their location."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .errors import DatasetError
from .image_dataset import ImageDataset
from .pictures import name_of, stored_images

# Number of images per split whose bytes are hashed; labels are hashed completely.
COMPARED = 1000


@dataclass(frozen=True)
class DataIdentity:
    """Content hash, columns and sizes of a run's data.

    Attributes
    ----------
    columns : Mapping
        Maps keys of the run configuration to the columns in use.
    found : tuple of str
        Those of these keys that the configuration leaves to the defaults.
    rows : Mapping
        Number of rows of each split.
    digest : str
        Hash of the content, in hexadecimal; it does not depend on the location.
    """

    columns: Mapping[str, str]
    found: tuple[str, ...]
    rows: Mapping[str, int]
    digest: str

    def as_json(self) -> dict[str, Any]:
        """Return the attributes as in a checkpoint and in a JSON file."""
        return {**asdict(self), "found": list(self.found)}

    def differences(self, saved: Mapping[str, Any]) -> str:
        """Describe how these data differ from a checkpoint's; empty if they do not."""
        if saved.get("digest") == self.digest:
            return ""
        before = saved.get("rows")
        rows = before if isinstance(before, Mapping) else {}
        counts = [
            f"{split} has {count:,} rows, it had {rows[split]:,}"
            for split, count in self.rows.items()
            if isinstance(rows.get(split), int) and rows[split] != count
        ]
        return "; ".join(counts) or "as many rows with another content"


def identity_of_images(
    splits: Mapping[str, ImageDataset], columns: Mapping[str, str], found: Iterable[str]
) -> DataIdentity:
    """Identify images by all labels and by the bytes of up to 1,000 images per split.

    Raises
    ------
    DatasetError
        An image file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, split in splits.items():
        digest.update(repr((name, len(split.labels), split.image_shape, split.fitted)).encode())
        digest.update(split.labels.numpy().astype("<i8").tobytes())
        count = len(split.labels)
        rows = sorted({int(row) for row in np.linspace(0, count - 1, COMPARED)})
        for content in _contents(split, rows):
            digest.update(hashlib.blake2b(content, digest_size=16).digest())
    rows_of = {name: len(split.labels) for name, split in splits.items()}
    return DataIdentity(dict(columns), tuple(found), rows_of, digest.hexdigest())


def identity_of_texts(
    splits: Mapping[str, Sequence[tuple[str, ...]]],
    columns: Mapping[str, str],
    found: Iterable[str],
) -> DataIdentity:
    """Identify texts by their whole content."""
    digest = hashlib.blake2b(digest_size=16)
    for name, texts in splits.items():
        digest.update(repr((name, len(texts))).encode())
        for row in texts:
            digest.update(repr(tuple(row)).encode())
    counts = {name: len(texts) for name, texts in splits.items()}
    return DataIdentity(dict(columns), tuple(found), counts, digest.hexdigest())


def _contents(split: ImageDataset, rows: Sequence[int]) -> Iterable[bytes]:
    if isinstance(split.images, Tensor):
        yield from (split.images[row].numpy().tobytes() for row in rows)
        return
    table, column = split.images, split.column
    for row, stored in zip(rows, stored_images(table, column, rows), strict=True):
        try:
            yield b"" if stored is None else stored["bytes"] or Path(stored["path"]).read_bytes()
        except OSError as error:
            raise DatasetError(
                f"{name_of(table, column, row, split.name)} cannot be read ({error}): replace or "
                "remove it"
            ) from error
    if split.id_column:
        yield repr(table.select_columns([split.id_column])[rows][split.id_column]).encode()
