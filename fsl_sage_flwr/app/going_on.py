"""Whether a run of a configuration can go on from a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from .checkpoint import CheckpointError, read_checkpoint
from .config import SCHEDULE_KEYS, RunConfig
from .results import RunDirectory

# Keys that may differ between a checkpoint's configuration and the run that resumes from it.
FREE_TO_CHANGE = {
    "num-server-rounds", "resume", "results-dir", "run-name", "device", "round-timeout",
    "checkpoint-interval", "min-train-nodes", "max-reply-mb", "comm-threshold-mb", "tracker",
}  # fmt: skip


def checkpoint_for(config: RunConfig, file: Path) -> dict[str, Any]:
    """Return what a checkpoint has.

    Raises
    ------
    CheckpointError
        It is missing or unreadable, was written with another configuration, or of a run
        that has all rounds already.
    """
    saved = read_checkpoint(file)
    ours, theirs = config.to_run_config(), saved["config"]
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
        raise CheckpointError(f"resume: another configuration: {'; '.join(differences)}")
    done = len(saved["history"])
    # Killed between its last round and its end it is not completed: then that is left to do.
    completed = RunDirectory.is_completed_at(file.parents[1])
    if done > config.num_server_rounds or (done == config.num_server_rounds and completed):
        raise CheckpointError(
            f"num-server-rounds = {config.num_server_rounds}: the checkpoint has finished {done} "
            "rounds already; ask for more"
        )
    return saved


def _schedules_differ(config: RunConfig, rounds: int) -> bool:
    """Return whether a run of ``rounds`` rounds has other learning rates than this run."""
    other = replace(config, num_server_rounds=rounds)
    return any(other.schedule(key) != config.schedule(key) for key in SCHEDULE_KEYS)
