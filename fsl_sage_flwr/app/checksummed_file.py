"""A file of ``torch.save`` that has the checksum of its own bytes.

Such a file is a zip archive, and the checksum is its comment: one file, replaced at once, which
``torch.load`` reads as any other. Its last 16 bytes are the comment's length (2 bytes) and the
comment, ``crc32:`` and eight digits; the checksum is of all bytes before them.
"""

import re
from pathlib import Path
from typing import Any

import torch

from ..atomic_files import checksum_of

_COMMENT = "crc32:{}"
_SEAL = re.compile(rb"\x0e\x00crc32:([0-9a-f]{8})")
_SEAL_BYTES = 16
_LENGTH_BYTES = 2


class BrokenSealError(ValueError):
    """A file's bytes are not those that were written."""


class NoSealError(BrokenSealError):
    """A file has no checksum at its end: cut off, or of another version."""


def write_sealed(path: Path, content: Any) -> None:
    """Write a file with ``content``, which may be all that ``weights_only`` reads."""
    # Of a path torch.save would not tell why it cannot be written.
    with path.open("wb") as file:
        torch.save(content, file)
    size = path.stat().st_size - _LENGTH_BYTES
    comment = _COMMENT.format(checksum_of(path, size)).encode()
    with path.open("r+b") as file:
        file.seek(size)
        file.write(len(comment).to_bytes(_LENGTH_BYTES, "little") + comment)


def check_seal(path: Path) -> None:
    """Read all of a file, and compare its bytes with its checksum.

    Raises
    ------
    NoSealError
        It has none.
    BrokenSealError
        It has another.
    """
    size = path.stat().st_size - _SEAL_BYTES
    with path.open("rb") as file:
        file.seek(max(size, 0))
        found = _SEAL.fullmatch(file.read())
    if found is None:
        raise NoSealError("it is cut off: there is no checksum at its end")
    if checksum_of(path, size) != found[1].decode():
        raise BrokenSealError("its checksum is not that of its bytes")


def load_sealed(path: Path) -> Any:
    """Return what a file has, if it is whole; its tensors are read when they are used.

    Raises
    ------
    BrokenSealError
        It is not the file that was written.
    """
    check_seal(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
