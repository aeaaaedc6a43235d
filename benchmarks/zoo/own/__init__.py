"""Models as people write them with PyTorch alone, one file a kind."""

from collections.abc import Iterator

from ..entry import Entry
from . import habits, images, pixels, series, sets, tables, text

KINDS = (habits, images, pixels, text, series, tables, sets)


def entries() -> Iterator[Entry]:
    """Yield the models."""
    for kind in KINDS:
        yield from kind.entries()
