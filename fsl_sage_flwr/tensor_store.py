"""Named tensors in files: what a strategy keeps of clients that are not at work.

The format is safetensors': it is read by mapping the file into memory, in a fraction of a
millisecond however large it is, and holds no code. A file that a checkpoint names has a checksum.
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

from .atomic_files import checksum_of, sync, writing

SUFFIX = ".safetensors"
# What a TensorStore names its files.
FILE_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(SUFFIX)}")

# The format sorts its tensors; the order of a model's own is part of what is checked.
_ORDER = "order"
# What safetensors names a file that it has not finished.
_UNFINISHED = ".tmp*"
# At once: the disk, and processors for checksums.
_THREADS = 8


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors to a file that :class:`TensorFile` reads; their order is kept.

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(path):
        save_file(values, path, metadata={_ORDER: json.dumps(list(values))})


class TensorFile(Mapping[str, Tensor]):
    """Named tensors in a file that is never changed; they are read when they are used.

    Parameters
    ----------
    path : Path
        The file.
    checksum : str, optional
        That of its bytes, by :func:`~fsl_sage_flwr.atomic_files.checksum_of`, where it is known.
    """

    def __init__(self, path: Path, checksum: str | None = None) -> None:
        self.path = path
        self.checksum = checksum

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self.path, "pt") as file:
            if name not in file.keys():  # noqa: SIM118 - it is no mapping
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
        """Return itself: it never changes."""
        return self

    def load(self) -> dict[str, Tensor]:
        """Return all of it; changing a tensor does not change the file."""
        with safe_open(self.path, "pt") as file:
            return {name: file.get_tensor(name) for name in json.loads(file.metadata()[_ORDER])}

    def problem(self) -> str | None:
        """Return what is wrong with the file: missing, or not whole; None when it is fine.

        All of it is read if its checksum is known.
        """
        try:
            with safe_open(self.path, "pt"):
                pass
            if self.checksum in (None, checksum_of(self.path)):
                return None
        except (OSError, SafetensorError) as error:
            return f"{self.path}: {error}"
        return f"{self.path}: its checksum is not that of its bytes"


class TensorStore:
    """A folder of tensor files, each of which is there as long as somebody needs it.

    That is: as long as its :class:`TensorFile` is in use, or a checkpoint needs it. Whoever
    undoes something puts the files of before back, and what nobody holds any more is removed.

    Parameters
    ----------
    path : Path, optional
        The folder; without one a temporary one is made, which goes with this object.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._users = Counter[str]()
        self._needed: dict[str, frozenset[str] | None] = {}
        self._unsynced = set[str]()
        self._checksums = dict[str, str]()
        self._lock = RLock()  # an object is dropped whenever Python pleases

    @property
    def path(self) -> Path:
        """The folder; it is made when something is written."""
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="fsl-sage-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        return self._path

    def write(self, tensors: Mapping[str, Tensor]) -> TensorFile:
        """Write tensors to a new file, which is removed when nobody needs it."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / f"{uuid.uuid4().hex}{SUFFIX}"
        write_tensors(path, tensors)
        self._unsynced.add(path.name)
        return self._owned(path)

    def take(self, file: TensorFile) -> TensorFile:
        """Return a file of this folder with a file's tensors: itself, a link to it, or a copy."""
        if file.path.parent == self.path:
            return self._owned(file.path, file.checksum)
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / f"{uuid.uuid4().hex}{SUFFIX}"
        link_or_copy(file.path, path)
        self._unsynced.add(path.name)
        return self._owned(path, file.checksum)

    def sync(self, names: Collection[str]) -> dict[str, str]:
        """Wait until files are on the disk, so that a checkpoint may name them.

        Returns
        -------
        dict
            The files' checksums by name; only those of new files are computed.

        Raises
        ------
        DiskError
            The disk does not take them.
        """
        new = self._unsynced.intersection(names)
        with writing(self.path), ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(sync, (self.path / name for name in new)))
            if new:
                sync(self.path)
            unknown = [name for name in names if name not in self._checksums]
            found = pool.map(checksum_of, (self.path / name for name in unknown))
            self._checksums.update(zip(unknown, found, strict=True))
        self._unsynced -= new
        return {name: self._checksums[name] for name in names}

    def needed_by(self, checkpoint: str) -> frozenset[str] | None:
        """Return which files a checkpoint needs, as :meth:`need` was told; None: it may be any."""
        return self._needed.get(checkpoint, frozenset())

    def need(self, checkpoint: str, names: Collection[str] | None) -> None:
        """Note which files a checkpoint needs from now on; files that none needs are removed.

        Parameters
        ----------
        checkpoint : str
            Its name.
        names : collection of str or None
            Names of its files; None if it cannot be read. As long as there is such a checkpoint,
            no file is removed.
        """
        before = self.needed_by(checkpoint)
        self._needed[checkpoint] = None if names is None else frozenset(names)
        if names is None:
            return
        if before is None:
            self.remove_leftovers()
            return
        for name in before.difference(names):
            self._remove_unneeded(name)

    def remove_leftovers(self) -> None:
        """Remove the files that a killed process has left; files of other names stay."""
        if not self.path.is_dir():
            return
        for path in self.path.glob(f"*{SUFFIX}"):
            if FILE_NAME.fullmatch(path.name):
                self._remove_unneeded(path.name)
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
            self._remove_unneeded(name)

    def _remove_unneeded(self, name: str) -> None:
        needed = any(names is None or name in names for names in self._needed.values())
        if not needed and self._users[name] <= 0:
            del self._users[name]
            self._unsynced.discard(name)
            self._checksums.pop(name, None)
            (self.path / name).unlink(missing_ok=True)


def link_or_copy(file: Path, path: Path) -> None:
    """Put a file's bytes under another name too, without writing them where the disk can do so.

    Raises
    ------
    DiskError
        They had to be copied, and cannot be written.
    """
    try:
        os.link(file, path)
    except OSError:  # another disk, or one without links
        with writing(path):
            shutil.copyfile(file, path)


def map_files(value: Any, change: Callable[[TensorFile], Any]) -> Any:
    """Return nested dicts and lists with ``change`` done to every :class:`TensorFile` in them."""
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
    """Return tensors by longer names; :func:`with_prefix` takes them out again."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {key[len(prefix) :]: t for key, t in tensors.items() if key.startswith(prefix)}
