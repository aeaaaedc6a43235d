"""Clients that get no message for some rounds, because they failed several times in a row."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

log = logging.getLogger("flwr.fsl_sage")


class ClientCooldown:
    """Counts the rounds in a row in which each client failed. An undone round counts too.

    Parameters
    ----------
    after : int
        Failed rounds in a row that pause a client; 0 disables pauses.
    rounds : int
        Length of a pause in rounds.
    """

    def __init__(self, after: int, rounds: int) -> None:
        self._after, self._rounds = after, rounds
        self._left_out: dict[int, int] = {}
        self._until: dict[int, int] = {}

    def at(self, round_: int) -> set[int]:
        """Return the clients that are paused in a round, counted from 0."""
        return {client for client, until in self._until.items() if round_ < until}

    def record(self, round_: int, good: Iterable[int], left_out: Mapping[int, str]) -> None:
        """Record the results of a round.

        Parameters
        ----------
        round_ : int
            Counted from 0.
        good : iterable of int
            Clients whose replies count.
        left_out : Mapping
            Clients that failed, with the reason; late ones did not.
        """
        for client in good:
            self._left_out.pop(client, None)
        if not self._after:
            return
        for client, reason in left_out.items():
            count = self._left_out[client] = self._left_out.get(client, 0) + 1
            if count >= self._after:
                del self._left_out[client]
                self._until[client] = round_ + 1 + self._rounds
                log.warning(
                    "client %d was excluded in %d rounds in a row and is not asked in the next %d: "
                    "%s", client, count, self._rounds, reason,
                )  # fmt: skip

    def try_again(self, clients: Iterable[int]) -> None:
        """End the pauses of clients on restarted nodes, or of all when a run is resumed.

        One more failure pauses such a client again.
        """
        for client in set(clients) & set(self._until):
            del self._until[client]
            self._left_out[client] = max(self._after - 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, and the round in which each pause ends."""
        return {"left_out": dict(self._left_out), "until": dict(self._until)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a checkpoint's counts and end its pauses: clients may have been repaired."""
        self._left_out, self._until = dict(state["left_out"]), dict(state["until"])
        self.try_again(list(self._until))
