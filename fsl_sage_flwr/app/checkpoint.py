"""Read a checkpoint."""

import pickle
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A run cannot go on from a checkpoint; one line says why."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint has; its tensors are read when they are used.

    Raises
    ------
    CheckpointError
        The file is missing or unreadable.
    """
    if not file.is_file():
        raise CheckpointError(f"resume = {str(file)!r}: there is no such checkpoint file")
    try:
        saved: dict[str, Any] = torch.load(file, weights_only=True, mmap=True)
        _ = saved["config"], len(saved["history"])
    except (
        OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError,
        AttributeError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        why = " ".join(str(error).split())[:120]
        best = file.with_name("best.pt")
        hint = f", e.g. {best}" if best.is_file() and best != file else ""
        raise CheckpointError(
            f"resume = {str(file)!r}: it is no whole checkpoint ({type(error).__name__}: {why}); "
            f"give another{hint}"
        ) from error
    return saved
