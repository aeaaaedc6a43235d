"""Count a run's rounds, and end the run after too many failed ones in a row."""

import logging
from collections.abc import Mapping
from typing import Any

from ..messages.reason import is_raised_by_client_app

log = logging.getLogger("flwr.fsl_sage")


class TrainingFailedError(RuntimeError):
    """Too many rounds in a row had too few valid replies."""


class RoundCounter:
    """Counts the rounds of a run, those that count, and failed ones in a row.

    Parameters
    ----------
    most_failed : int
        Number of failed rounds in a row that ends the run.

    Attributes
    ----------
    done : int
        Rounds that have ended, failed ones too.
    trained : int
        Rounds that count: the version of the weights.
    """

    def __init__(self, most_failed: int) -> None:
        self.done = self.trained = 0
        self._first = 0  # rounds before this start
        self._most, self._in_a_row, self._succeeded = most_failed, 0, False
        self._last_problem = ""

    def begin(self, server_round: int) -> None:
        """Begin a round with Flower's number, from 1 in each start."""
        self.done = self._first + server_round - 1

    def record_success(self) -> None:
        """Record a round that counts."""
        self._in_a_row, self._succeeded = 0, True
        self.done += 1
        self.trained += 1

    def record_failure(
        self,
        number: int,
        why: str,
        failures: Mapping[int, str],
        unidentified: Mapping[int, str],
        *,
        nobody_answered: bool = False,
    ) -> None:
        """Record and log a failed round.

        Parameters
        ----------
        number : int
            Of the round, from 1.
        why : str
            Reason, in a few words.
        failures : Mapping
            Excluded clients, with the reason.
        unidentified : Mapping
            Nodes that run no client, with the reason.
        nobody_answered : bool
            Whether no client has a valid reply.

        Raises
        ------
        TrainingFailedError
            There were too many in a row, or no round has succeeded and the ClientApps of all
            clients raise the same error.
        """
        self.done += 1
        self._in_a_row += 1
        reasons = "; ".join(
            [f"client {client}: {reason}" for client, reason in failures.items()]
            + [f"node {node}: {reason}" for node, reason in unidentified.items()]
        )
        problem = self._last_problem = (
            f"round {number} failed: {why} ({reasons or 'no client is connected'})"
        )
        log.warning(problem)
        errors = set(failures.values())
        if nobody_answered and not self._succeeded and len(errors) == 1:
            (error,) = errors
            if is_raised_by_client_app(error):
                raise TrainingFailedError(
                    f"all clients of round {number} ({len(failures)}) fail with the same error, so "
                    f"the run ends: {error}"
                )
        if self._in_a_row >= self._most:
            raise TrainingFailedError(f"{self._in_a_row} rounds in a row failed; {problem}")

    def refuse_untrained(self) -> None:
        """Raise an error if no round was trained.

        Raises
        ------
        TrainingFailedError
            Every round so far failed: the weights are the initial ones.
        """
        if self.trained == 0:
            why = self._last_problem or "there was none"
            raise TrainingFailedError(f"no round was trained: {why}")

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of rounds; failed ones in a row are counted anew by each start."""
        return {"rounds_done": self.done, "rounds_trained": self.trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the round of a checkpoint."""
        self._first = self.done = int(state["rounds_done"])
        # Earlier checkpoints do not count them.
        self.trained = int(state.get("rounds_trained", self.done))
