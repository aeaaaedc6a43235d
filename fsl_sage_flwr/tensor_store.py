"""Store named tensors in files: state of clients that are not currently in use.

The format is safetensors: a file is memory-mapped in a fraction of a millisecond whatever its
size, and contains no code. Files in a checkpoint have checksums.
"""

import json
import os
import re
import shutil
import tempfile
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import RLock
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .atomic_files import checksum_of, explain_disk_errors, sync

SUFFIX = ".safetensors"
# Names of a TensorStore's files.
FILE_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(SUFFIX)}")

# safetensors sorts tensors; the original order is part of the checks, so it is saved too.
_ORDER = "order"
# Name pattern of safetensors' unfinished files.
_UNFINISHED = ".tmp*"
# Threads for syncing and for checksums.
_THREADS = 8


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors to a file for :class:`TensorFile`, in order.

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    values, memories = dict[str, Tensor](), set[int]()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        # safetensors refuses shared memory, which a layer with two names has.
        values[name] = value.clone() if memory in memories else value
        memories.add(memory)
    with explain_disk_errors(path):
        save_file(values, path, metadata={_ORDER: json.dumps(list(values))})


class TensorFile(Mapping[str, Tensor]):
    """Named tensors in an immutable file, read on access.

    Parameters
    ----------
    path : Path
        Path of the file.
    checksum : str, optional
        Checksum of its bytes, by :func:`~fsl_sage_flwr.atomic_files.checksum_of`, if known.
    """

    def __init__(self, path: Path, checksum: str | None = None) -> None:
        self.path = path
        self.checksum = checksum

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self.path, "pt") as file:
            if name not in file.keys():  # noqa: SIM118 - not a mapping
                raise KeyError(name)
            tensor: Tensor = file.get_tensor(name)
            return tensor

    def __iter__(self) -> Iterator[str]:
        with safe_open(self.path, "pt") as file:
            yield from json.loads(file.metadata()[_ORDER])

    def __len__(self) -> int:
        with safe_open(self.path, "pt") as file:
            return len(file.keys())

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "TensorFile":
        """Return itself, because it is immutable."""
        return self

    def load(self) -> dict[str, Tensor]:
        """Return all tensors; changing one does not change the file."""
        with safe_open(self.path, "pt") as file:
            return {name: file.get_tensor(name) for name in json.loads(file.metadata()[_ORDER])}

    def problem(self) -> str | None:
        """Return the error in a missing or damaged file, or None.

        The whole file is read if its checksum is known.
        """
        try:
            with safe_open(self.path, "pt"):
                pass
            if self.checksum in (None, checksum_of(self.path)):
                return None
        except (OSError, SafetensorError) as error:
            return f"{self.path}: {error}"
        return f"{self.path}: the checksum does not match, the file is corrupt or truncated"


class TensorStore:
    """A folder of tensor files that are deleted when unused.

    A file is in use while its :class:`TensorFile` exists or a checkpoint pins it. A rollback keeps
    the old :class:`TensorFile` objects, and with them the files.

    Parameters
    ----------
    path : Path, optional
        The folder; by default a temporary one, deleted with this object.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._users = Counter[str]()
        self._pinned: dict[str, frozenset[str] | None] = {}
        self._unsynced = set[str]()
        self._checksums = dict[str, str]()
        self._lock = RLock()  # Python may finalise a TensorFile at any time, in any thread

    @property
    def path(self) -> Path:
        """The folder; a temporary one is created at the first access."""
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="fsl-sage-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        return self._path

    def write(self, tensors: Mapping[str, Tensor]) -> TensorFile:
        """Write tensors to a new file."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / f"{uuid.uuid4().hex}{SUFFIX}"
        write_tensors(path, tensors)
        self._unsynced.add(path.name)
        return self._owned(path)

    def adopt(self, file: TensorFile) -> TensorFile:
        """Return a file of this folder with the same tensors: itself, a link or a copy."""
        if file.path.parent == self.path:
            return self._owned(file.path, file.checksum)
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / f"{uuid.uuid4().hex}{SUFFIX}"
        link_or_copy(file.path, path)
        self._unsynced.add(path.name)
        return self._owned(path, file.checksum)

    def sync(self, names: Collection[str]) -> dict[str, str]:
        """Wait until files are on the disk, so that a checkpoint may pin them.

        Returns
        -------
        dict
            The files' checksums by name; only new files are read.

        Raises
        ------
        DiskError
            The files cannot be written.
        """
        new = self._unsynced.intersection(names)
        with explain_disk_errors(self.path), ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(sync, (self.path / name for name in new)))
            if new:
                sync(self.path)
            unknown = [name for name in names if name not in self._checksums]
            found = pool.map(checksum_of, (self.path / name for name in unknown))
            self._checksums.update(zip(unknown, found, strict=True))
        self._unsynced -= new
        return {name: self._checksums[name] for name in names}

    def pinned_by(self, checkpoint: str) -> frozenset[str] | None:
        """Return the names pinned by a checkpoint; None if they may be any."""
        return self._pinned.get(checkpoint, frozenset())

    def pin(self, checkpoint: str, names: Collection[str] | None) -> None:
        """Set the files that a checkpoint needs; unused files are deleted.

        Parameters
        ----------
        checkpoint : str
            Name of the checkpoint.
        names : collection of str or None
            Names of its files; None if the checkpoint cannot be read: then no file is deleted until
            it is pinned again.
        """
        before = self.pinned_by(checkpoint)
        self._pinned[checkpoint] = None if names is None else frozenset(names)
        if names is None:
            return
        if before is None:
            self.remove_leftovers()
            return
        for name in before.difference(names):
            self._remove_unused(name)

    def remove_leftovers(self) -> None:
        """Delete the files that a killed process left; files with foreign names stay."""
        if not self.path.is_dir():
            return
        for path in self.path.glob(f"*{SUFFIX}"):
            if FILE_NAME.fullmatch(path.name):
                self._remove_unused(path.name)
        for path in self.path.glob(_UNFINISHED):
            path.unlink(missing_ok=True)

    def _owned(self, path: Path, checksum: str | None = None) -> TensorFile:
        file = TensorFile(path, checksum)
        with self._lock:
            self._users[path.name] += 1
            if checksum is not None:
                self._checksums[path.name] = checksum
        weakref.finalize(file, self._dropped, path.name)
        return file

    def _dropped(self, name: str) -> None:
        with self._lock:
            self._users[name] -= 1
            self._remove_unused(name)

    def _remove_unused(self, name: str) -> None:
        needed = any(names is None or name in names for names in self._pinned.values())
        if not needed and self._users[name] <= 0:
            del self._users[name]
            self._unsynced.discard(name)
            self._checksums.pop(name, None)
            (self.path / name).unlink(missing_ok=True)


def link_or_copy(file: Path, path: Path) -> None:
    """Link a file under another name, or copy it if the disk has no links.

    Raises
    ------
    DiskError
        The copy cannot be written.
    """
    try:
        os.link(file, path)
    except OSError:  # another disk, or one without links
        with explain_disk_errors(path):
            shutil.copyfile(file, path)


def map_files(value: Any, change: Callable[[TensorFile], Any]) -> Any:
    """Return nested dicts and lists with each :class:`TensorFile` mapped by ``change``."""
    if isinstance(value, TensorFile):
        return change(value)
    if isinstance(value, dict):
        return {key: map_files(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [map_files(inner, change) for inner in value]
    return value


def files_in(value: Any) -> list[TensorFile]:
    """Return every :class:`TensorFile` in nested dicts and lists."""
    found = list[TensorFile]()
    map_files(value, found.append)
    return found


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return tensors with prefixed names; the inverse is :func:`with_prefix`."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names have the prefix, without it."""
    return {key[len(prefix) :]: t for key, t in tensors.items() if key.startswith(prefix)}
