"""Count how often samples of a client are uploaded, which privacy accounting needs."""

from collections import Counter
from collections.abc import Mapping
from typing import Any


class SampleUploads:
    """Counts the requests for the smashed data of one sample, by client.

    A request counts when its message is sent, with or without an answer: undoing a round does
    not undo an upload. Training and validation samples differ, so the larger of the two counts
    holds for each sample.
    """

    def __init__(self) -> None:
        self._training, self._validation = Counter[int](), Counter[int]()
        self._before: dict[int, int] = {}

    def begin_round(self) -> None:
        """Start to count :meth:`in_round`."""
        self._before = {client: self.of(client) for client in self.clients}

    def record_training(self, client: int, uploads: int) -> None:
        """Count a message whose answer has each training sample up to ``uploads`` times."""
        self._training[client] += uploads

    def record_validation(self, client: int) -> None:
        """Count an evaluation, which uploads each validation sample once."""
        self._validation[client] += 1

    @property
    def clients(self) -> set[int]:
        """Clients that got a request for smashed data."""
        return {*self._training, *self._validation}

    def of(self, client: int) -> int:
        """Return the largest number of uploads of one of a client's samples in the run."""
        return max(self._training[client], self._validation[client])

    def in_round(self, client: int) -> int:
        """Return how many of them are of this round."""
        return self.of(client) - self._before.get(client, 0)

    @property
    def largest(self) -> int:
        """Largest number of uploads of any sample."""
        return max((self.of(client) for client in self.clients), default=0)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, for a checkpoint."""
        return {"training": dict(self._training), "validation": dict(self._validation)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the counts of a checkpoint."""
        self._training = Counter(state["training"])
        self._validation = Counter(state["validation"])
