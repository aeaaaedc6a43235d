"""Check that a run's configuration can resume from a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data import DataIdentity
from ..runs.checkpoint import (
    CheckpointError,
    read_checkpoint,
    refuse_finished,
    refuse_other_settings,
)
from .config import SCHEDULE_KEYS, RunConfig, all_settings, with_new_names


def checkpoint_for(
    config: RunConfig, file: Path, data: DataIdentity | None = None
) -> dict[str, Any]:
    """Return the content of a compatible checkpoint.

    Parameters
    ----------
    config : RunConfig
        Configuration of the resuming run.
    file : Path
        The checkpoint.
    data : DataIdentity, optional
        Identity of the run's data, which may lie elsewhere than the checkpoint's; checkpoints of
        earlier versions do not identify their data, and are compared by path.

    Raises
    ------
    CheckpointError
        The checkpoint is missing or unreadable, has another configuration or other data, or all
        requested rounds.
    """
    saved = read_checkpoint(file)
    saved["config"] = with_new_names(saved["config"])
    ours = config.to_run_config()
    # Checkpoints of earlier versions also contain keys of other algorithms.
    of_others = set(config.unused_keys()) - set(ours)
    free = {key for key, entry in all_settings().items() if entry.scope != "experiment"}
    rounds = config.num_server_rounds
    if _schedules_differ(config, saved["config"].get("num-server-rounds", rounds)):
        free.remove("num-server-rounds")
    before, changed = saved.get("data"), ""
    if before is not None and data is not None:
        ours |= data.columns
        changed = data.differences(before)
        free.add("dataset")
    elif before is not None:  # the default columns are unknown before a download
        free |= {key for key in with_new_names(before["columns"]) if not ours.get(key)}
    refuse_other_settings(saved, ours, free | of_others)
    if changed:
        raise CheckpointError(
            f"resume: dataset = {config.dataset!r}: other data than the checkpoint's: {changed}; "
            "give the data of the checkpoint, or start another run"
        )
    refuse_finished(saved, file, rounds)
    return saved


def _schedules_differ(config: RunConfig, rounds: int) -> bool:
    """Return whether a run of ``rounds`` rounds has other learning rates than this run."""
    other = replace(config, num_server_rounds=rounds)
    return any(other.schedule(key) != config.schedule(key) for key in SCHEDULE_KEYS)
