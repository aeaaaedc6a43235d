"""Read a checkpoint, and refuse one that a run cannot go on from."""

from collections.abc import Collection, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from ..tensor_files import files_in
from .results import UNREADABLE, RunDirectory, tensors_of, with_files

# Of what a checkpoint has; 2: clients' tensors in files beside it; 3: how
# often samples were uploaded.
FORMAT = 3


class CheckpointError(ValueError):
    """A run cannot go on from a checkpoint; one line says why."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint has; its tensors are read when they are used.

    Raises
    ------
    CheckpointError
        The file is missing or unreadable, or one that it names is.
    """
    if not file.is_file():
        raise CheckpointError(f"resume = {str(file)!r}: there is no such checkpoint file")
    try:
        saved: dict[str, Any] = torch.load(file, weights_only=True, mmap=True)
        _ = saved["config"], len(saved["history"])
    except UNREADABLE as error:
        # Of torch's paragraphs, the first sentence; the rest is advice to those who wrote it.
        why = shorten(str(error).partition(". ")[0].partition(", please")[0], 120, placeholder=" …")
        best = file.with_name("best.pt")
        hint = f", e.g. {best}" if best.is_file() and best != file else ""
        raise CheckpointError(
            f"resume = {str(file)!r}: it is no whole checkpoint ({type(error).__name__}: {why}); "
            f"give another{hint}"
        ) from error
    if saved.get("format", 1) != FORMAT:
        raise CheckpointError(
            f"resume = {str(file)!r}: it was written by an earlier version of this package, and "
            "this one cannot read it; train anew, or resume with that version"
        )
    whole: dict[str, Any] = with_files(saved, tensors_of(file))
    broken = next(filter(None, (each.problem() for each in files_in(whole))), None)
    if broken is not None:
        raise CheckpointError(
            f"resume = {str(file)!r}: a file that it names cannot be read ({broken}); copy a "
            f"checkpoint together with its folder {tensors_of(file).name}, or give another"
        )
    return whole


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
