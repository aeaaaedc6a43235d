"""Count failed rounds, and end a run after too many in a row."""

import logging
from collections.abc import Mapping

log = logging.getLogger("flwr.fsl_sage")


class TrainingFailedError(RuntimeError):
    """Too many rounds in a row had too few valid replies."""


class FailedRoundCounter:
    """Counts failed rounds in a row.

    Parameters
    ----------
    most : int
        Number of failed rounds in a row that ends the run.

    Attributes
    ----------
    last_problem : str
        Log line of the latest failed round; empty if there was none.
    """

    def __init__(self, most: int) -> None:
        self._most, self._in_a_row = most, 0
        self.last_problem = ""

    def record_success(self) -> None:
        """Record a round that counts."""
        self._in_a_row = 0

    def record_failure(
        self, number: int, why: str, failures: Mapping[int, str], unidentified: Mapping[int, str]
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

        Raises
        ------
        TrainingFailedError
            There were too many in a row.
        """
        self._in_a_row += 1
        reasons = "; ".join(
            [f"client {client}: {reason}" for client, reason in failures.items()]
            + [f"node {node}: {reason}" for node, reason in unidentified.items()]
        )
        problem = self.last_problem = (
            f"round {number} failed: {why} ({reasons or 'no client is connected'})"
        )
        log.warning(problem)
        if self._in_a_row >= self._most:
            raise TrainingFailedError(f"{self._in_a_row} rounds in a row failed; {problem}")
