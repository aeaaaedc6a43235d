"""Write and read files of ``torch.save`` with a checksum of their bytes.

Such a file is a zip archive with the checksum as its comment: one file, replaced atomically, which
``torch.load`` reads as usual. Its last 16 bytes are the comment's length (2 bytes) and the comment,
``crc32:`` and eight digits; the checksum covers all bytes before them.
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


class ChecksumError(ValueError):
    """The file's bytes do not match its checksum."""


class MissingChecksumError(ChecksumError):
    """The file has no checksum at its end: it is truncated or from an earlier version."""


def write_checksummed(path: Path, content: Any) -> None:
    """Write ``content``, of types that ``weights_only`` allows, with its checksum."""
    # Given a path, torch.save hides the reason of a failed write.
    with path.open("wb") as file:
        torch.save(content, file)
    size = path.stat().st_size - _LENGTH_BYTES
    comment = _COMMENT.format(checksum_of(path, size)).encode()
    with path.open("r+b") as file:
        file.seek(size)
        file.write(len(comment).to_bytes(_LENGTH_BYTES, "little") + comment)


def verify_checksum(path: Path) -> None:
    """Read a whole file, and compare its bytes with its checksum.

    Raises
    ------
    MissingChecksumError
        The checksum is missing.
    ChecksumError
        The checksum differs.
    """
    size = path.stat().st_size - _SEAL_BYTES
    with path.open("rb") as file:
        file.seek(max(size, 0))
        found = _SEAL.fullmatch(file.read())
    if found is None:
        raise MissingChecksumError("there is no checksum at its end, the file is truncated")
    if checksum_of(path, size) != found[1].decode():
        raise ChecksumError("the checksum does not match")


def load_checksummed(path: Path) -> Any:
    """Return a file's content after checking it; tensors are read on access.

    Raises
    ------
    ChecksumError
        The file is corrupt or truncated.
    """
    verify_checksum(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
