"""The rows of a run's rounds and clients, in memory and in its files."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..splitting import Evaluation
from ..strategies import SplitStrategy
from .client_rows import columns_of, first_rows
from .directory import RunDirectory
from .privacy_account import PrivacyAccount
from .round_rows import RoundRows, merit
from .virtual_time import TimedRounds

log = logging.getLogger("flwr.fsl_sage")


class RunHistory:
    """Adds a row per round, and one per client and round, to a run's tables.

    Parameters
    ----------
    strategy : SplitStrategy
        Strategy of the run.
    directory : RunDirectory
        Directory of the tables.
    account : PrivacyAccount, optional
        Account of the noise on smashed data.
    label_epsilon : float
        ε of the randomised response of the clients' labels; 0 disables it.

    Attributes
    ----------
    rows : list of dict
        Rows of all rounds, those before a resumed checkpoint among them.
    client_rows : int
        Number of rows of clients.
    """

    def __init__(
        self,
        strategy: SplitStrategy,
        directory: RunDirectory,
        account: PrivacyAccount | None,
        label_epsilon: float,
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.client_rows = 0
        self._strategy, self._directory = strategy, directory
        self._round_rows = RoundRows(strategy, account, label_epsilon)
        self._timed: TimedRounds | None = None
        self._now: Callable[[], float] | None = None
        self._ended_at = 0.0

    @property
    def last_round(self) -> int:
        """Number of the last round, from 1; 0 before it."""
        return int(self.rows[-1]["round"]) if self.rows else 0

    @property
    def epsilon_of_labels(self) -> float:
        """Sum of the ε of all draws of the labels: one per start of the run."""
        return self._round_rows.epsilon_of_labels

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Continue after the rows of a checkpoint; the strategy has its state already."""
        self.rows = list(saved["history"])
        self._round_rows.resume(self.rows)

    def begin(
        self,
        saved: Mapping[str, Any] | None,
        timed: TimedRounds | None,
        now: Callable[[], float] | None,
    ) -> None:
        """Write the rows of a checkpoint's rounds and of their clients.

        Parameters
        ----------
        saved : Mapping or None
            Content of the checkpoint.
        timed : TimedRounds or None
            Adds the virtual seconds and joules of rounds.
        now : callable or None
            Virtual clock of the Grid, for replies that arrive by it.
        """
        self._timed, self._now = timed, now
        if saved is None or isinstance(saved["clients"], list):
            clients = saved["clients"] if saved else []  # an earlier version saved the rows
            self.client_rows = self._directory.write_history(self.rows, clients)
            return
        counted: int = saved["clients"]
        file = RunDirectory.clients_of(saved["file"].parent.parent)
        rows = first_rows(file, counted, self._strategy.rounds_done)
        self.client_rows = self._directory.write_history(self.rows, rows, columns_of(file))
        if self._timed is not None:
            done, own = self._strategy.rounds_done, RunDirectory.clients_of(self._directory.path)
            self._timed.resume(self.rows, first_rows(own, self.client_rows, done))
        if self.client_rows < counted:
            log.warning(
                "%s has %d of the %d rows that the checkpoint counts; the new clients.csv lacks "
                "the others, which does not affect the training",
                file, self.client_rows, counted,
            )  # fmt: skip

    def add(
        self, evaluation: Evaluation, evaluation_seconds: float, seconds: float
    ) -> dict[str, Any]:
        """Add the latest round, and return its row.

        Parameters
        ----------
        evaluation : Evaluation
            Results on the test split.
        evaluation_seconds : float
            Seconds that they took.
        seconds : float
            Seconds since the end of the round before.
        """
        row = self._round_rows.round_row(evaluation)
        row["evaluation_seconds"] = round(evaluation_seconds, 3)
        row["seconds"] = round(seconds, 3)
        self.rows.append(row)
        clients = [self._round_rows.client_row(c) for c in self._strategy.client_rounds()]
        self.client_rows += len(clients)
        if self._timed is not None:
            row |= self._timed.figures(row, clients, self._virtual_seconds())
        self._directory.append_history(row, clients)
        return row

    def last_is_best(self) -> bool:
        """Tell whether the last round is better than all before it; a failed one is not."""
        *before, last = self.rows
        return (
            not self._strategy.last_round.given_up
            and merit(last) > -math.inf
            and all(merit(last) > merit(other) for other in before)
        )

    def _virtual_seconds(self) -> float | None:
        """Return the seconds since the last call, on the Grid's virtual clock; None without one."""
        if self._now is None:
            return None
        before, self._ended_at = self._ended_at, self._now()
        return self._ended_at - before
