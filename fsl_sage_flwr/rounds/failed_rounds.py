"""Count failed rounds, and end a run after too many in a row."""

import logging
from collections.abc import Mapping

from ..messages.reason import is_raised_by_client_app

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
        self._most, self._in_a_row, self._succeeded = most, 0, False
        self.last_problem = ""

    def record_success(self) -> None:
        """Record a round that counts."""
        self._in_a_row, self._succeeded = 0, True

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
        self._in_a_row += 1
        reasons = "; ".join(
            [f"client {client}: {reason}" for client, reason in failures.items()]
            + [f"node {node}: {reason}" for node, reason in unidentified.items()]
        )
        problem = self.last_problem = (
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
