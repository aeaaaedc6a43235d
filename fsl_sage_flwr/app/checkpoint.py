"""Read a checkpoint, and refuse one that a run cannot go on from."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .config import SCHEDULE_KEYS, ConfigError, RunConfig

# Keys that may differ between a checkpoint's configuration and the run that resumes from it.
FREE_TO_CHANGE = {
    "num-server-rounds", "resume", "results-dir", "run-name", "device", "round-timeout",
    "checkpoint-interval", "min-train-nodes", "max-reply-mb", "comm-threshold-mb", "tracker",
}  # fmt: skip


def read_checkpoint(file: Path, config: RunConfig) -> dict[str, Any]:
    """Return what a checkpoint has; its tensors are read when they are used.

    Raises
    ------
    ConfigError
        The file is missing or unreadable, was written with another configuration, or has all
        rounds of the run already.
    """
    if not file.is_file():
        raise ConfigError(f"resume = {str(file)!r}: there is no such checkpoint file")
    try:
        saved: dict[str, Any] = torch.load(file, weights_only=True, mmap=True)
        theirs, done = saved["config"], len(saved["history"])
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError,
            pickle.UnpicklingError) as error:  # fmt: skip
        why = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"resume = {str(file)!r}: it is no whole checkpoint ({type(error).__name__}: {why}); "
            f"give another, e.g. {file.with_name('best.pt')}"
        ) from error
    _refuse_another_configuration(config, theirs)
    if done >= config.num_server_rounds:
        raise ConfigError(
            f"num-server-rounds = {config.num_server_rounds}: the checkpoint has finished {done} "
            "rounds already; ask for more"
        )
    return saved


def _refuse_another_configuration(config: RunConfig, theirs: dict[str, Any]) -> None:
    ours = config.to_run_config()
    # A checkpoint of an earlier version also contains keys of other algorithms.
    of_others = set(config.idle_keys()) - set(ours)
    free = set(FREE_TO_CHANGE)
    if _schedules_differ(config, theirs.get("num-server-rounds", config.num_server_rounds)):
        free.remove("num-server-rounds")
    differences = [
        f"{key} was {value!r}, now {ours.get(key)!r}"
        for key, value in theirs.items()
        if key not in free | of_others and ours.get(key) != value
    ]
    if differences:
        raise ConfigError(f"resume: another configuration: {'; '.join(differences)}")


def _schedules_differ(config: RunConfig, rounds: int) -> bool:
    """Return whether a run of ``rounds`` rounds has other learning rates than this run."""
    other = replace(config, num_server_rounds=rounds)
    return any(other.schedule(key) != config.schedule(key) for key in SCHEDULE_KEYS)
