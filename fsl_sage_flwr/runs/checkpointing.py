"""Decide which rounds of a run get a checkpoint, and write it."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord

from ..strategies import SplitStrategy
from .checkpoint import FORMAT
from .checkpoint_files import CheckpointFiles
from .history import RunHistory


class Checkpointing:
    """Writes the checkpoints of a run, after every ``interval`` rounds and after the best.

    Parameters
    ----------
    checkpoints : CheckpointFiles
        Files of the checkpoints.
    strategy : SplitStrategy
        Its state is saved.
    history : RunHistory
        Its rows are saved.
    settings : Mapping
        Settings of the run, which are saved; they may grow until the first checkpoint.
    data : Mapping, optional
        Identity of the data, which is saved.
    interval : int
        Rounds between two checkpoints; 0 disables checkpoints.
    after_failed_rounds : bool
        Whether a round that changes no model is saved too, for the privacy that it spends.

    Attributes
    ----------
    arrays : ArrayRecord or None
        The latest average, which the recorder sets.
    """

    def __init__(
        self,
        checkpoints: CheckpointFiles,
        strategy: SplitStrategy,
        history: RunHistory,
        settings: Mapping[str, Any],
        data: Mapping[str, Any] | None,
        *,
        interval: int,
        after_failed_rounds: bool,
    ) -> None:
        self._checkpoints, self._strategy, self._history = checkpoints, strategy, history
        self._settings, self._data, self._interval = settings, data, interval
        self._after_failed_rounds = after_failed_rounds
        self._unsaved = True  # the current model is in no checkpoint
        self.arrays: ArrayRecord | None = None

    def begin(self, saved: Mapping[str, Any] | None) -> None:
        """Continue after a checkpoint; None starts anew."""
        self._checkpoints.resume_from(saved["file"] if saved else None)
        self._strategy.keep_files_in(self._checkpoints.tensors)
        self._unsaved = saved is None or saved["file"] != self._checkpoints.latest

    def save(self, *, is_last: bool) -> None:
        """Write the checkpoints that are due after a round, the last one or another.

        A failed round changes no model, so it needs no checkpoint: if the last checkpoint makes the
        run fail, the previous one is kept. The clients' privacy spent in a failed round is saved.
        """
        given_up = self._strategy.last_round.given_up
        self._unsaved |= not given_up
        if self._interval == 0:
            return
        is_best = self._history.last_is_best()
        # Save after a failed round: further ones may end the run.
        due = is_last or given_up or self._history.last_round % self._interval == 0
        due = due and (self._unsaved or self._after_failed_rounds)
        if self.arrays is None or not (is_best or due):
            return
        state = self._state(self.arrays)
        if due:
            self._checkpoints.write(self._checkpoints.latest, state)
            self._unsaved = False
        if due and is_best:
            self._checkpoints.make_latest_the_best()
        elif is_best:
            self._checkpoints.write(self._checkpoints.best, state)

    def save_last_good(self) -> None:
        """Save the state after the last recorded round, when training cannot continue.

        If a later round was trained but not recorded, nothing is saved: the last checkpoint stays
        valid.
        """
        is_recorded = self._strategy.rounds_done == self._history.last_round
        if self.arrays is not None and is_recorded and self._unsaved:
            self._checkpoints.write(self._checkpoints.latest, self._state(self.arrays))

    def _state(self, arrays: ArrayRecord) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": self._settings,
            "strategy": self._strategy.state_dict(),
            "client_half": dict(arrays.to_torch_state_dict()),
            "history": self._history.rows,
            "clients": self._history.client_rows,
            **({"data": dict(self._data)} if self._data is not None else {}),
        }
