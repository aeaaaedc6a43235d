"""Read the images of a table, and report unreadable ones by name."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from .errors import DatasetError

if TYPE_CHECKING:
    import datasets

# PIL's errors for files that are damaged, truncated, too large or no images.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError),
    *(struct.error, Image.DecompressionBombError),
)


def read_images(
    table: datasets.Dataset, column: str, rows: Sequence[int], what: str
) -> list[Image.Image]:
    """Return the images of the given rows.

    Parameters
    ----------
    table : datasets.Dataset
        A table with a column of images.
    column : str
        Name of that column.
    rows : sequence of int
        Row numbers.
    what : str
        Name of the table in errors.

    Raises
    ------
    DatasetError
        An image is missing or damaged; the message has its row and file name.
    """
    try:
        images: list[Image.Image] = table[rows][column]
    except UNREADABLE:
        for row in rows:
            _refuse_unreadable(table, column, row, what)
        raise
    for row, image in zip(rows, images, strict=True):
        if image is None:
            raise DatasetError(f"{name_of(table, column, row, what)} is missing: remove the row")
    return images


def stored_images(
    table: datasets.Dataset, column: str, rows: Sequence[int]
) -> list[dict[str, Any] | None]:
    """Return the stored form of the given rows' images: their ``bytes`` or a ``path``."""
    stored: list[dict[str, Any] | None]
    stored = table.with_format("arrow")[list(rows)].column(column).to_pylist()
    return stored


def name_of(table: datasets.Dataset, column: str, row: int, what: str) -> str:
    """Return the name of an image for error messages."""
    (stored,) = stored_images(table, column, [row])
    path = stored["path"] if stored else None
    return f"the image of row {row}{f' ({path})' if path else ''} of {what}"


def _refuse_unreadable(table: datasets.Dataset, column: str, row: int, what: str) -> None:
    try:
        table[[row]]
    except UNREADABLE as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(
            f"{name_of(table, column, row, what)} cannot be read ({why}): replace or remove it"
        ) from error
