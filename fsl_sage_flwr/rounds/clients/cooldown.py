"""Clients that are not asked for a while, because they were left out again and again."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ..part import Part

log = logging.getLogger("flwr.fsl_sage")


class ClientCooldown(Part):
    """Counts the rounds in a row in which each client was left out.

    Parameters
    ----------
    after : int
        Rounds in a row in which a client is left out, whereupon it is paused; 0: never.
    rounds : int
        Rounds for which it is not asked then.

    Raises
    ------
    ValueError
        One of them is too small.
    """

    def __init__(self, after: int, rounds: int) -> None:
        if after < 0 or rounds < 1:
            raise ValueError(
                f"max_client_failures = {after} must be at least 0, and pause_rounds = {rounds} at "
                "least 1"
            )
        self._after, self._rounds = after, rounds
        self._left_out: dict[int, int] = {}
        self._until: dict[int, int] = {}

    def at(self, round_: int) -> set[int]:
        """Return the clients that are not to be asked in a round, counted from 0."""
        return {client for client, until in self._until.items() if round_ < until}

    def note(self, round_: int, good: Iterable[int], left_out: Mapping[int, str]) -> None:
        """Take note of a round's end: of whose work counted, and of whose did not.

        Parameters
        ----------
        round_ : int
            Counted from 0.
        good : iterable of int
            Clients that answered as they should.
        left_out : Mapping
            Clients that did not, with the reason; without those that were only too slow.
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
                    "client %d was left out in %d rounds running and is not asked in the next %d: "
                    "%s", client, count, self._rounds, reason,
                )  # fmt: skip

    def try_again(self, clients: Iterable[int]) -> None:
        """Ask clients again that are paused, as their node was restarted or the run resumed.

        Whoever is then left out once more is paused again at once.
        """
        for client in set(clients) & set(self._until):
            del self._until[client]
            self._left_out[client] = max(self._after - 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts and who is paused until when."""
        return {"pauses": {"left_out": dict(self._left_out), "until": dict(self._until)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; who was paused is tried again: it may have been repaired."""
        saved = state["pauses"]
        self._left_out, self._until = dict(saved["left_out"]), dict(saved["until"])
        self.try_again(list(self._until))
