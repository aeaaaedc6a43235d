"""State that is averaged over the clients of a round."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor

from ..state import State
from .aggregation.aggregation import Aggregation


class AveragedState(State, ABC):
    """State of which each client trains a copy in a round, averaged at the round's end.

    Attributes
    ----------
    aggregation : Aggregation
        The strategy's, which sets it: how the clients' results become one.
    """

    aggregation: Aggregation

    @abstractmethod
    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return the weights of a client's copy in this round, by name."""

    @abstractmethod
    def average(self, weights: Mapping[int, float], trained: Iterable[int]) -> None:
        """Make the state the average of clients' copies, at the end of a round that counts.

        Parameters
        ----------
        weights : Mapping
            Weight of each client in the average.
        trained : iterable of int
            Clients whose replies are valid, averaged or not.
        """
