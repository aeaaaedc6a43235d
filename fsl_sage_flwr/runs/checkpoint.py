"""Read checkpoints, and refuse those that a run cannot resume from."""

import logging
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from ..tensor_store import files_in
from .checkpoint_files import UNREADABLE, previous_of, tensors_of, with_files
from .checksummed_file import ChecksumError, load_checksummed
from .directory import LATEST, RunDirectory

log = logging.getLogger("flwr.fsl_sage")

# Of what a checkpoint has; 2: clients' tensors in files beside it; 3: checksums,
# and how often samples were uploaded; 4: the number of the clients' rows, not the rows, and which
# samples no head is fitted to; 5: a strategy's states nested by name.
FORMAT = 5
_READABLE = (3, 4, FORMAT)

# Top-level entries of a checkpoint and their types.
_PARTS = {"config": dict, "strategy": dict, "client_half": dict, "history": list}


class CheckpointError(ValueError):
    """A run cannot resume from the checkpoint; one line gives the reason."""


class DamagedError(CheckpointError):
    """The checkpoint is corrupt or truncated."""


class UnreadableError(DamagedError):
    """The checkpoint exists but the disk failed to read it; it may be intact."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return a checkpoint's content; tensors are read on access.

    All bytes of the checkpoint and of its tensor files are first compared with their checksums. If
    a run's last checkpoint is damaged, the previous one is returned, with a log line.

    Returns
    -------
    dict
        ``config``, ``strategy``, ``client_half``, ``history`` and ``clients`` as saved, and
        ``file``, the path of the checkpoint. ``clients`` is the number of rows of the run's
        ``clients.csv``, or in a checkpoint of an earlier version the rows.

    Raises
    ------
    CheckpointError
        The file is missing, or both it and the previous checkpoint are damaged.
    """
    if not file.is_file():
        raise CheckpointError(f"resume = {str(file)!r}: there is no such checkpoint file")
    try:
        return _read(file)
    except DamagedError as error:
        damage = error
    before = previous_of(file)
    saved = _whole(before) if file.name == LATEST else None
    if saved is None:
        others = (other for other in sorted(file.parent.glob("*.pt")) if other != file)
        whole = next(filter(_whole, others), None)
        hint = f", e.g. {whole}" if whole else ""
        raise type(damage)(f"{damage}; give another{hint}") from damage
    log.warning(
        "%s; resuming from the previous checkpoint %s, after round %d",
        damage, saved["file"], len(saved["history"]),
    )  # fmt: skip
    return saved


def _whole(file: Path) -> dict[str, Any] | None:
    """Return a checkpoint's content, or None if it is missing or damaged."""
    try:
        return _read(file) if file.is_file() else None
    except CheckpointError:
        return None


def _read(file: Path) -> dict[str, Any]:
    try:
        saved = load_checksummed(file)
        if _is_of_an_unreadable_version(saved):
            raise _version_error(file)
        _check_parts(saved)
        whole: dict[str, Any] = {**with_files(saved, tensors_of(file)), "file": file}
    except CheckpointError:
        raise
    except ChecksumError as error:
        raise _damaged(file, _shortened(error)) from error
    except UNREADABLE as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise UnreadableError(_damage_text(file, _in_a_line(error))) from error
        raise _damaged(file, _in_a_line(error)) from error
    with ThreadPoolExecutor() as pool:
        problems = pool.map(lambda each: each.problem(), files_in(whole))
        broken = next(filter(None, problems), None)
    if broken is not None:
        raise DamagedError(
            f"resume = {str(file)!r}: one of its tensor files cannot be read ({broken}); copy a "
            f"checkpoint together with its folder {tensors_of(file).name}"
        )
    return whole


def _check_parts(saved: Any) -> None:
    """Raise a TypeError if an entry of a checkpoint is missing or has another type."""
    for part, kind in {**_PARTS, "format": int}.items():
        if type(saved[part]) is not kind:
            raise TypeError(f"{part} is no {kind.__name__}")
    data = saved.get("data", {"columns": {}})  # missing in earlier versions
    if type(data) is not dict or type(data.get("columns")) is not dict:
        raise TypeError("the description of its data is invalid")
    clients = saved["clients"]
    if type(clients) not in (int, list):
        raise TypeError("its clients are neither rows nor their number")
    for row in (*saved["history"], *(clients if isinstance(clients, list) else ())):
        if type(row) is not dict:
            raise TypeError("a row of its history is not a dict")
    for name, tensor in saved["client_half"].items():
        if not (isinstance(name, str) and type(tensor) is torch.Tensor):
            raise TypeError("its client half is not named tensors")


def _is_of_an_unreadable_version(saved: Any) -> bool:
    """Return whether this is a checkpoint with another format; the first format had no number."""
    if type(saved) is not dict or not {"config", "history"} <= set(saved):
        return False
    found = saved.get("format", 1)
    return type(found) is int and found not in _READABLE


def _version_error(file: Path) -> CheckpointError:
    return CheckpointError(
        f"resume = {str(file)!r}: it was written by an earlier version of this package, which "
        "this one cannot read; train anew, or resume with that version"
    )


def _in_a_line(error: Exception) -> str:
    """Return the first sentence of an error; torch's further paragraphs advise developers."""
    return f"{type(error).__name__}: {_shortened(error)}"


def _shortened(error: Exception) -> str:
    said = str(error).partition(". ")[0].partition(", please")[0]
    return shorten(said, 120, placeholder=" …")


def _damaged(file: Path, why: str) -> DamagedError:
    return DamagedError(_damage_text(file, why))


def _damage_text(file: Path, why: str) -> str:
    return f"resume = {str(file)!r}: the checkpoint is corrupt or truncated ({why})"


@contextmanager
def explain_mismatch(saved: Mapping[str, Any]) -> Iterator[None]:
    """Explain in one line why a strategy cannot load a checkpoint.

    Raises
    ------
    CheckpointError
        An entry is missing, or has another type or shape.
    """
    try:
        yield
    except UNREADABLE as error:
        raise CheckpointError(
            f"resume = {str(saved['file'])!r}: its content does not fit this run "
            f"({_in_a_line(error)}); give another checkpoint"
        ) from error


def refuse_other_settings(
    saved: Mapping[str, Any], ours: Mapping[str, Any], free: Collection[str]
) -> None:
    """Refuse a checkpoint with other settings.

    Parameters
    ----------
    saved : Mapping
        Result of :func:`read_checkpoint`.
    ours : Mapping
        Settings of the resuming run.
    free : collection of str
        Settings that may differ.

    Raises
    ------
    CheckpointError
        A setting differs; the message lists all differences.
    """
    differences = [
        f"{key} was {value!r}, now {ours.get(key)!r}"
        for key, value in saved["config"].items()
        if key not in free and ours.get(key) != value
    ]
    if differences:
        raise CheckpointError(f"resume: another configuration: {'; '.join(differences)}")


def refuse_finished(saved: Mapping[str, Any], file: Path, num_rounds: int) -> None:
    """Refuse a checkpoint that already has the requested number of rounds.

    A run that was killed between its last round and its completion may resume to complete.

    Raises
    ------
    CheckpointError
        There are more rounds than requested, or as many in a completed run.
    """
    done = len(saved["history"])
    completed = RunDirectory.is_completed_at(file.parent.parent)
    if done > num_rounds or (done == num_rounds and completed):
        raise CheckpointError(
            f"num-server-rounds = {num_rounds}: the checkpoint has finished {done} rounds already; "
            "ask for more"
        )
