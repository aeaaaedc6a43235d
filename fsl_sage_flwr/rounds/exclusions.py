"""Clients that are excluded from a round, with the reason."""

import logging
from collections.abc import Collection

from ..diverged import DivergedError

log = logging.getLogger("flwr.fsl_sage")


class Exclusions:
    """Reasons for which clients are excluded from a round and its average.

    Parameters
    ----------
    round_ : int
        Number of the round, from 1.
    reasons : dict of int to str
        Reasons by partition id, which this object fills.
    """

    def __init__(self, round_: int, reasons: dict[int, str]) -> None:
        self.reasons = reasons
        self._round = round_
        self._blameless = set[int]()
        self._not_finite = set[int]()

    @property
    def blamed(self) -> dict[int, str]:
        """Reasons of the clients that failed: not of those that were late or got no message."""
        found = self.reasons.items()
        return {client: reason for client, reason in found if client not in self._blameless}

    def add(
        self, client: int, reason: str, *, blameless: bool = False, not_finite: bool = False
    ) -> None:
        """Exclude a client.

        Parameters
        ----------
        client : int
            Partition id.
        reason : str
            One line.
        blameless : bool
            The client did nothing wrong: the round ended without it.
        not_finite : bool
            Its work gives, or would leave, values that are not finite.
        """
        if blameless:
            self._blameless.add(client)
        if not_finite:
            self._not_finite.add(client)
            reason = f"not finite: {reason}"
        self.reasons[client] = reason
        log.warning("round %d: client %d is excluded: %s", self._round, client, reason)

    def refuse_divergence(self, clients: Collection[int]) -> None:
        """End the run when no client's work was finite: the server's state is the cause.

        Raises
        ------
        DivergedError
            All of a round's clients are excluded as not finite.
        """
        if clients and self._not_finite == set(clients):
            first = min(clients)
            raise DivergedError(
                f"round {self._round} gave no finite value for any of its clients "
                f"(client {first}: {self.reasons[first]}); this round is "
                "undone. Lower server-learning-rate or learning-rate"
            )
