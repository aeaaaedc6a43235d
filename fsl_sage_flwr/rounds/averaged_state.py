"""State that is averaged over the clients of a round."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from ..state import State
from .aggregation.aggregation import Aggregation
from .aggregation.fed_opt import ServerStep
from .asynchrony.asynchrony import Asynchrony


class AveragedState(State, ABC):
    """State of which each client trains a copy in a round, averaged at the round's end.

    Attributes
    ----------
    aggregation : Aggregation
        The strategy's, which sets it: how the clients' results become one.
    server_step : ServerStep or None
        The strategy's, which sets it: step towards the average; None takes the average.
    asynchrony : Asynchrony or None
        The strategy's, which sets it: how stale copies are merged; None where there are none.
    """

    aggregation: Aggregation
    server_step: ServerStep | None = None
    asynchrony: Asynchrony | None = None

    @property
    @abstractmethod
    def parameters(self) -> Collection[str]:
        """Names of the weights that clients train by gradients: not of buffers."""

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

    def merged(
        self, client: int, field: str, trained: Mapping[str, Tensor], now: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Return what a client's copy, trained from perhaps older weights, counts as.

        ``field`` is its field in a reply, and ``now`` the state's current weights.
        """
        if self.asynchrony is None:
            return trained
        return self.asynchrony.merged(client, field, trained, now, self.parameters)

    def combined(
        self,
        before: Mapping[str, Tensor],
        copies: Iterable[Mapping[str, Tensor]],
        weights: Sequence[float],
    ) -> dict[str, Tensor]:
        """Aggregate clients' copies, and step towards the result from the weights before."""
        average = self.aggregation.of_states(copies, weights)
        return average if self.server_step is None else self.server_step.step(before, average)
