"""Whether a run of a configuration can go on from a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..key_names import with_names_of_today
from .checkpoint import read_checkpoint, refuse_finished, refuse_other_settings
from .config import SCHEDULE_KEYS, RunConfig

# Keys that may differ between a checkpoint's configuration and the run that resumes from it.
FREE_TO_CHANGE = {
    "num-server-rounds", "resume", "results-dir", "run-name", "device", "round-timeout",
    "checkpoint-interval", "min-train-nodes", "fraction-reply", "max-client-failures",
    "pause-rounds", "max-reply-mib", "max-communication-mib", "tracker", "virtual-clients",
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
    saved["config"] = with_names_of_today(saved["config"])
    ours = config.to_run_config()
    # A checkpoint of an earlier version also contains keys of other algorithms.
    of_others = set(config.idle_keys()) - set(ours)
    free = set(FREE_TO_CHANGE)
    rounds = config.num_server_rounds
    if _schedules_differ(config, saved["config"].get("num-server-rounds", rounds)):
        free.remove("num-server-rounds")
    refuse_other_settings(saved, ours, free | of_others)
    refuse_finished(saved, file, rounds)
    return saved


def _schedules_differ(config: RunConfig, rounds: int) -> bool:
    """Return whether a run of ``rounds`` rounds has other learning rates than this run."""
    other = replace(config, num_server_rounds=rounds)
    return any(other.schedule(key) != config.schedule(key) for key in SCHEDULE_KEYS)
