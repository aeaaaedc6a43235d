"""Files that are whole or not there: replaced at once, on the disk, with a checksum.

The checksum is CRC-32. It finds what disks and copies do to bytes, every single flipped bit
among it, and is five times as fast as the cryptographic ones that Python has. These would not say
more: whoever can change a file can also write a checksum that fits.
"""

import errno
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

CHUNK = 2**20

_FIX = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room in the quota",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
}


class DiskError(OSError):
    """A file cannot be written: the disk is full, read-only or broken; one line says which."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a file could not be written, whichever library was writing it.

    Raises
    ------
    DiskError
        The operating system refused a write inside.
    """
    try:
        yield
    except DiskError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        number = _number(error)
        if number is None:
            raise
        fix = _FIX.get(number, "look at the disk")
        raise DiskError(
            f"{path} cannot be written ({os.strerror(number)}); {fix}, and let the run go on from "
            "its last checkpoint"
        ) from error


@contextmanager
def replacing(path: Path, *, synced: bool = True, private: bool = False) -> Iterator[Path]:
    """Yield a file to write, which then takes another's place at once, and is on the disk.

    Whoever reads has the file of before or the new one, even after the process was killed or the
    power went. If something is raised inside, the file of before stays.

    Parameters
    ----------
    path : Path
        Whose place it takes.
    synced : bool
        Whether to wait for the disk. What ends with its processes need not outlast the power.
    private : bool
        Only this user may read the file (0600).

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            yield unfinished
            if private:
                unfinished.chmod(0o600)
            if synced:
                sync(unfinished)
            unfinished.replace(path)
        finally:
            # On a disk that became read-only this raises too; the first error is what is told.
            unfinished.unlink(missing_ok=True)
        if synced:
            sync(path.parent)


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter (0700), and those above it that are missing.

    Raises
    ------
    DiskError
        It cannot be made.
    """
    missing = [folder]
    while not missing[-1].parent.is_dir() and missing[-1].parent != missing[-1]:
        missing.append(missing[-1].parent)
    with writing(folder):
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or which names a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum_of(path: Path, size: int | None = None) -> str:
    """Return the CRC-32 of a file, or of its first ``size`` bytes, as eight hexadecimal digits."""
    left = path.stat().st_size if size is None else size
    checksum, buffer = 0, memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while left > 0 and (count := file.readinto(buffer[: min(left, CHUNK)])):
            checksum = zlib.crc32(buffer[:count], checksum)
            left -= count
    return f"{checksum:08x}"


def _number(error: BaseException | None) -> int | None:
    """Return the operating system's number of an error, or of one that it was raised from.

    PyTorch raises another error over it, and safetensors has it in the text alone.
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
