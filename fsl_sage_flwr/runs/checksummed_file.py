"""Write files of ``torch.save``, and check all bytes of one before it is loaded.

The file is a zip archive with a CRC-32 of each member, which ``zipfile`` compares. The archive's
structure has no checksum: of a change in it, ``zipfile`` or ``torch.load`` with ``mmap`` refuses
what is not harmless. (Without ``mmap`` a flag that calls a tensor a directory goes unseen.)
"""

import lzma
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

# zipfile's errors for a changed archive, in a header, or in data that a changed header calls
# encrypted or compressed.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)


class ChecksumError(ValueError):
    """The file is truncated or not a zip archive, or a member differs from its checksum."""


def write_checksummed(path: Path, content: Any) -> None:
    """Write ``content``, of types that ``weights_only`` allows."""
    # Given a path, torch.save hides the reason of a failed write.
    with path.open("wb") as file:
        torch.save(content, file)


def verify_checksum(path: Path) -> None:
    """Read a whole file, and compare its members with their checksums.

    Raises
    ------
    ChecksumError
        A checksum differs, or the archive is incomplete.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except _DAMAGED as error:
        raise ChecksumError(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno is None:  # bz2's, for data that a changed header calls compressed
            raise ChecksumError(str(error)) from error
        raise
    if damaged is not None:
        raise ChecksumError(f"the checksum of {damaged} does not match")


def load_checksummed(path: Path) -> Any:
    """Return a file's content after checking it; tensors are read on access.

    Raises
    ------
    ChecksumError
        The file is corrupt or truncated.
    """
    verify_checksum(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
