"""How often one sample of a client has been uploaded, which is what noise is accounted by."""

from collections import Counter
from collections.abc import Mapping
from typing import Any


class SampleUploads:
    """The most times that the smashed data of one sample were asked for, by client.

    Counted when a message is sent, whether or not an answer comes: what a client has uploaded
    is not taken back by a round that is undone. A training sample and a validation sample are
    two samples, so the larger of the two counts is what holds for every one.
    """

    def __init__(self) -> None:
        self._training, self._validation = Counter[int](), Counter[int]()
        self._before: dict[int, int] = {}

    def begin_round(self) -> None:
        """Count :meth:`in_round` from here."""
        self._before = {client: self.of(client) for client in self.clients}

    def note_training(self, client: int, uploads: int) -> None:
        """Count a message whose answer has each training sample at most so many times."""
        self._training[client] += uploads

    def note_validation(self, client: int) -> None:
        """Count an evaluation, which uploads each validation sample once."""
        self._validation[client] += 1

    @property
    def clients(self) -> set[int]:
        """Clients that were ever asked for smashed data."""
        return {*self._training, *self._validation}

    def of(self, client: int) -> int:
        """Return the most uploads of one of a client's samples, in the whole run."""
        return max(self._training[client], self._validation[client])

    def in_round(self, client: int) -> int:
        """Return how many of them this round has added."""
        return self.of(client) - self._before.get(client, 0)

    @property
    def largest(self) -> int:
        """The most uploads of any sample."""
        return max((self.of(client) for client in self.clients), default=0)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, for a checkpoint."""
        return {"training": dict(self._training), "validation": dict(self._validation)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the counts of a checkpoint."""
        self._training = Counter(state["training"])
        self._validation = Counter(state["validation"])
