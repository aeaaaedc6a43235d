"""Write files atomically and durably, and compute their checksums.

The checksum is CRC-32. It detects accidental damage, including every single flipped bit, and is
five times as fast as Python's cryptographic hashes. Those would not protect better: an attacker
who can change a file can also write a matching checksum.
"""

import errno
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .user_error import UserError

CHUNK = 2**20

_FIX = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room in the quota",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
}


class DiskError(OSError, UserError):
    """A file cannot be written; one line gives the cause, such as a full or read-only disk."""


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn any library's write error into a one-line :class:`DiskError`.

    Raises
    ------
    DiskError
        The operating system refused a write inside the context.
    """
    try:
        yield
    except DiskError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        number = _number(error)
        if number is None:
            raise
        fix = _FIX.get(number, "check the disk")
        raise DiskError(
            f"{path} cannot be written ({os.strerror(number)}); {fix}, and resume the run from "
            "its last checkpoint"
        ) from error


@contextmanager
def atomic_write(path: Path, *, synced: bool = True, private: bool = False) -> Iterator[Path]:
    """Yield a temporary file that replaces ``path`` atomically at the end.

    Readers see the old file or the new one, even after a kill or a power failure. An exception
    inside the context keeps the old file.

    Parameters
    ----------
    path : Path
        File to replace.
    synced : bool
        Whether to wait for the disk; unnecessary for files that are useless after a power failure.
    private : bool
        Restrict access to this user (0600).

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    with explain_disk_errors(path):
        try:
            yield unfinished
            if private:
                unfinished.chmod(0o600)
            if synced:
                sync(unfinished)
            unfinished.replace(path)
        finally:
            # On a disk that became read-only this raises too; the first error is reported.
            unfinished.unlink(missing_ok=True)
        if synced:
            sync(path.parent)


def make_private(folder: Path) -> None:
    """Create a folder for this user alone (0700), and its missing parents.

    Raises
    ------
    DiskError
        The folder cannot be created.
    """
    missing = [folder]
    while not missing[-1].parent.is_dir() and missing[-1].parent != missing[-1]:
        missing.append(missing[-1].parent)
    with explain_disk_errors(folder):
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)


def sync(path: Path) -> None:
    """Wait until a file or a folder's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum_of(path: Path) -> str:
    """Return the CRC-32 of a file, as eight hexadecimal digits."""
    checksum, buffer = 0, memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            checksum = zlib.crc32(buffer[:count], checksum)
    return f"{checksum:08x}"


def _number(error: BaseException | None) -> int | None:
    """Return the operating system's error number of an error or of its cause.

    PyTorch wraps the system's error, and safetensors has the number in its text alone.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if isinstance(error, SafetensorError) and (
            found := re.search(r"os error (\d+)", str(error))
        ):
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None
