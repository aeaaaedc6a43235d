"""Rounds that were given up, and when they are too many."""

import logging
from collections.abc import Mapping

log = logging.getLogger("flwr.fsl_sage")


class TrainingFailedError(RuntimeError):
    """Too many rounds in a row had too few good replies."""


class FailedRoundCounter:
    """Counts the rounds in a row that were given up.

    Parameters
    ----------
    most : int
        So many in a row end the run.

    Attributes
    ----------
    last_problem : str
        What was said of the last one; empty if there was none.
    """

    def __init__(self, most: int) -> None:
        self._most, self._in_a_row = most, 0
        self.last_problem = ""

    def note_good(self) -> None:
        """Note that a round counts."""
        self._in_a_row = 0

    def note(
        self, number: int, why: str, failures: Mapping[int, str], strangers: Mapping[int, str]
    ) -> None:
        """Note, and say in the log, that a round was given up.

        Parameters
        ----------
        number : int
            Of the round, counted from 1.
        why : str
            In a few words.
        failures : Mapping
            Clients that were left out, with the reason.
        strangers : Mapping
            Nodes that run no client, with the reason.

        Raises
        ------
        TrainingFailedError
            It was the last one that the run could bear.
        """
        self._in_a_row += 1
        reasons = "; ".join(
            [f"client {client}: {reason}" for client, reason in failures.items()]
            + [f"node {node}: {reason}" for node, reason in strangers.items()]
        )
        problem = self.last_problem = (
            f"round {number} is given up: {why} ({reasons or 'no client is connected'})"
        )
        log.warning(problem)
        if self._in_a_row >= self._most:
            raise TrainingFailedError(f"{self._in_a_row} rounds in a row failed; {problem}")
