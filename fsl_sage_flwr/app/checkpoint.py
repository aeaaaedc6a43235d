"""Read a checkpoint, and refuse one that a run cannot go on from."""

import logging
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from ..tensor_store import files_in
from .checksummed_file import BrokenSealError, NoSealError, load_sealed
from .results import LATEST, UNREADABLE, RunDirectory, tensors_of, with_files

log = logging.getLogger("flwr.fsl_sage")

# Of what a checkpoint has; 2: clients' tensors in files beside it; 3: checksums,
# and how often samples were uploaded; 4: the number of the clients' rows, not the rows, and which
# samples no head is fitted to; 5: a strategy's states nested by name.
FORMAT = 5
_READABLE = (3, 4, FORMAT)

# Whose tensors are in a checkpoint itself, and what else it has.
_PARTS = {"config": dict, "strategy": dict, "client_half": dict, "history": list}


class CheckpointError(ValueError):
    """A run cannot go on from a checkpoint; one line says why."""


class DamagedError(CheckpointError):
    """A checkpoint is not what was written."""


class UnreadableError(DamagedError):
    """The disk did not deliver a checkpoint that is there; it may be whole."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint has; its tensors are read when they are used.

    Before that every byte of it and of the files that it names is compared with its checksum. Of
    a run's last checkpoint that is damaged the one before is returned, and the log says so.

    Returns
    -------
    dict
        ``config``, ``strategy``, ``client_half``, ``history`` and ``clients`` as they were saved,
        and ``file``: the path that all this is from. ``clients`` is the number of rows of the
        run's ``clients.csv``; in a checkpoint of an earlier version, the rows.

    Raises
    ------
    CheckpointError
        The file is missing, or neither it nor the one before is whole.
    """
    if not file.is_file():
        raise CheckpointError(f"resume = {str(file)!r}: there is no such checkpoint file")
    try:
        return _read(file)
    except DamagedError as error:
        damage = error
    before = RunDirectory.previous_of(file)
    saved = _whole(before) if file.name == LATEST else None
    if saved is None:
        others = (other for other in sorted(file.parent.glob("*.pt")) if other != file)
        whole = next(filter(_whole, others), None)
        hint = f", e.g. {whole}" if whole else ""
        raise type(damage)(f"{damage}; give another{hint}") from damage
    log.warning(
        "%s; going on from the checkpoint before it, %s, after round %d",
        damage, saved["file"], len(saved["history"]),
    )  # fmt: skip
    return saved


def _whole(file: Path) -> dict[str, Any] | None:
    """Return what a checkpoint has, if it is there and whole."""
    try:
        return _read(file) if file.is_file() else None
    except CheckpointError:
        return None


def _read(file: Path) -> dict[str, Any]:
    try:
        saved = load_sealed(file)
        _check_parts(saved)
        whole: dict[str, Any] = {**with_files(saved, tensors_of(file)), "file": file}
    except NoSealError as error:
        _refuse_earlier_version(file)
        raise _damaged(file, str(error)) from error
    except BrokenSealError as error:
        raise _damaged(file, str(error)) from error
    except UNREADABLE as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise UnreadableError(_not_whole(file, _in_a_line(error))) from error
        raise _damaged(file, _in_a_line(error)) from error
    if saved["format"] not in _READABLE:
        raise _of_another_version(file)
    with ThreadPoolExecutor() as pool:
        problems = pool.map(lambda each: each.problem(), files_in(whole))
        broken = next(filter(None, problems), None)
    if broken is not None:
        raise DamagedError(
            f"resume = {str(file)!r}: a file that it names cannot be read ({broken}); copy a "
            f"checkpoint together with its folder {tensors_of(file).name}"
        )
    return whole


def _check_parts(saved: Any) -> None:
    """Raise a TypeError where a checkpoint has not the parts that one has."""
    for part, kind in {**_PARTS, "format": int}.items():
        if type(saved[part]) is not kind:
            raise TypeError(f"{part} is no {kind.__name__}")
    data = saved.get("data", {"columns": {}})  # earlier versions have none
    if type(data) is not dict or type(data.get("columns")) is not dict:
        raise TypeError("its data are not described")
    clients = saved["clients"]
    if type(clients) not in (int, list):
        raise TypeError("its clients are neither rows nor their number")
    for row in (*saved["history"], *(clients if isinstance(clients, list) else ())):
        if type(row) is not dict:
            raise TypeError("a row of its history is no dict")
    for name, tensor in saved["client_half"].items():
        if not (isinstance(name, str) and type(tensor) is torch.Tensor):
            raise TypeError("its client half is not named tensors")


def _refuse_earlier_version(file: Path) -> None:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        earlier = saved.get("format", 1) not in _READABLE and {"config", "history"} <= set(saved)
    except UNREADABLE:
        return
    if earlier:
        raise _of_another_version(file)


def _of_another_version(file: Path) -> CheckpointError:
    return CheckpointError(
        f"resume = {str(file)!r}: it was written by an earlier version of this package, and "
        "this one cannot read it; train anew, or resume with that version"
    )


def _in_a_line(error: Exception) -> str:
    """Return of torch's paragraphs the first sentence; the rest is advice to those who wrote it."""
    said = str(error).partition(". ")[0].partition(", please")[0]
    return f"{type(error).__name__}: {shorten(said, 120, placeholder=' …')}"


def _damaged(file: Path, why: str) -> DamagedError:
    return DamagedError(_not_whole(file, why))


def _not_whole(file: Path, why: str) -> str:
    return f"resume = {str(file)!r}: it is no whole checkpoint ({why})"


@contextmanager
def refusing_what_does_not_fit(saved: Mapping[str, Any]) -> Iterator[None]:
    """Say in one line that what a checkpoint has is not what a strategy loads inside.

    Raises
    ------
    CheckpointError
        Something is missing, or of another kind or shape.
    """
    try:
        yield
    except UNREADABLE as error:
        raise CheckpointError(
            f"resume = {str(saved['file'])!r}: what it has is not of this run "
            f"({_in_a_line(error)}); give another"
        ) from error


def refuse_other_settings(
    saved: Mapping[str, Any], ours: Mapping[str, Any], free: Collection[str]
) -> None:
    """Refuse a checkpoint of other settings.

    Parameters
    ----------
    saved : Mapping
        What :func:`read_checkpoint` returned.
    ours : Mapping
        The settings of the run that goes on.
    free : collection of str
        Settings that may differ.

    Raises
    ------
    CheckpointError
        The message has every difference.
    """
    differences = [
        f"{key} was {value!r}, now {ours.get(key)!r}"
        for key, value in saved["config"].items()
        if key not in free and ours.get(key) != value
    ]
    if differences:
        raise CheckpointError(f"resume: another configuration: {'; '.join(differences)}")


def refuse_finished(saved: Mapping[str, Any], file: Path, num_rounds: int) -> None:
    """Refuse a checkpoint that has as many rounds as are wanted.

    A run that was killed between its last round and its end is not completed: that is left to do.

    Raises
    ------
    CheckpointError
        There are too many rounds, or as many and their run is completed.
    """
    done = len(saved["history"])
    completed = RunDirectory.is_completed_at(file.parent.parent)
    if done > num_rounds or (done == num_rounds and completed):
        raise CheckpointError(
            f"num-server-rounds = {num_rounds}: the checkpoint has finished {done} rounds already; "
            "ask for more"
        )
