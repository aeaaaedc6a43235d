"""Write the checkpoints of a run, and the tensor files that they share."""

import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..atomic_files import atomic_write, explain_disk_errors, sync
from ..tensor_store import FILE_NAME, TensorFile, TensorStore, files_in, link_or_copy, map_files
from .checksummed_file import write_checksummed

log = logging.getLogger("flwr.fsl_sage")


# Keys of a tensor file's entry in a checkpoint.
FILE, CHECKSUM = "tensor-file", "crc32"

# torch's errors for a corrupt or truncated checkpoint.
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, UnpicklingError, struct.error),
)


def tensors_of(checkpoint: Path) -> Path:
    """Return the folder of a checkpoint's tensor files."""
    return checkpoint.parent / "tensors"


def previous_of(checkpoint: Path) -> Path:
    """Return the path of the checkpoint before a run's last one."""
    return checkpoint.with_name("previous.pt")


def names_in(checkpoint: Path) -> set[str] | None:
    """Return the names of a checkpoint's tensor files.

    Returns
    -------
    set of str or None
        Empty if there is no checkpoint; None if it cannot be read, perhaps only this time.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        found = files_in(with_files(content, tensors_of(checkpoint)))
    except FileNotFoundError:
        return set()
    except UNREADABLE as error:
        log.warning(
            "%s cannot be read (%s); the files in %s are kept until it is replaced",
            checkpoint, type(error).__name__, tensors_of(checkpoint),
        )  # fmt: skip
        return None
    return {file.path.name for file in found}


def with_files(value: Any, folder: Path) -> Any:
    """Return a checkpoint's content with a :class:`TensorFile` in place of each entry of one.

    Raises
    ------
    ValueError
        A name is not that of a tensor file: it could lead anywhere.
    """
    if isinstance(value, list):
        return [with_files(inner, folder) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {FILE, CHECKSUM}:
        name, checksum = value[FILE], value[CHECKSUM]
        if not (isinstance(name, str) and FILE_NAME.fullmatch(name)):
            raise ValueError(f"{name!r} is not the name of a tensor file")
        return TensorFile(folder / name, str(checksum))
    return {key: with_files(inner, folder) for key, inner in value.items()}


class CheckpointFiles:
    """The checkpoints of one run: the last, the previous and the best one.

    Parameters
    ----------
    latest : Path
        Path of the last checkpoint; the others are beside it.
    clients : Path
        The run's ``clients.csv``; a checkpoint counts its rows.

    Attributes
    ----------
    tensors : TensorStore
        Tensor files, shared by the checkpoints.
    """

    def __init__(self, latest: Path, clients: Path) -> None:
        self.latest, self._clients = latest, clients
        self.tensors = TensorStore(tensors_of(latest))
        self._resumed_from: Path | None = None
        latest.parent.mkdir(parents=True, exist_ok=True)

    @property
    def previous(self) -> Path:
        """Path of the checkpoint before the last one, used if the last one is damaged."""
        return previous_of(self.latest)

    @property
    def best(self) -> Path:
        """Path of the checkpoint of the best round, by accuracy or else by loss."""
        return self.latest.with_name("best.pt")

    def write(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a checkpoint for :func:`fsl_sage_flwr.runs.checkpoint.read_checkpoint`.

        Tensor files of the state are not copied; the checkpoint refers to them. Writing therefore
        costs what has changed, and checkpoints share the rest. The old ``latest`` becomes
        ``previous``. The counted rows of ``clients.csv`` are on the disk first.

        Raises
        ------
        DiskError
            The checkpoint cannot be written; the old ones stay.
        """
        if self._clients.is_file():
            with explain_disk_errors(self._clients):
                sync(self._clients)
        adopted = {file.path: self.tensors.adopt(file) for file in files_in(dict(state))}
        names = {file.path.name for file in adopted.values()}
        checksums = self.tensors.sync(names)

        def entry(file: TensorFile) -> dict[str, str]:
            name = adopted[file.path].path.name
            return {FILE: name, CHECKSUM: checksums[name]}

        with atomic_write(path) as unfinished:
            write_checksummed(unfinished, map_files(dict(state), entry))
            if path == self.latest:
                self._keep_previous()
        self.tensors.pin(path.name, names)

    def make_latest_the_best(self) -> None:
        """Let the best checkpoint be the last one too; a link, not a second file.

        Raises
        ------
        DiskError
            The link or copy cannot be made; the old best checkpoint stays.
        """
        self._link_latest_as(self.best)

    def resume_from(self, checkpoint: Path | None) -> None:
        """Record the checkpoint that the run resumes from, and pin the files of all checkpoints.

        Only a checkpoint that the run has resumed from or written becomes ``previous``: any other
        one may be damaged, or of an abandoned run.
        """
        self._resumed_from = checkpoint.resolve() if checkpoint else None
        for file in (self.latest, self.previous, self.best):
            self.tensors.pin(file.name, names_in(file))

    def _keep_previous(self) -> None:
        """Make ``latest`` the previous checkpoint, before its replacement."""
        before, self._resumed_from = self._resumed_from, self.latest.resolve()
        if before == self._resumed_from:
            self._link_latest_as(self.previous)
        elif before != self.previous.resolve():
            self.previous.unlink(missing_ok=True)
            self.tensors.pin(self.previous.name, ())

    def _link_latest_as(self, path: Path) -> None:
        with atomic_write(path) as unfinished:
            link_or_copy(self.latest, unfinished)
        self.tensors.pin(path.name, self.tensors.pinned_by(self.latest.name))
