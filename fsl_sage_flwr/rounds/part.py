"""What a strategy holds that outlives a round."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..tensor_store import TensorStore
from .aggregation.aggregation import Aggregation


class Part:
    """Something that a round changes, that can be put back, and that a checkpoint has.

    A strategy names its parts once; rounds are undone, and checkpoints written and read, for
    all of them alike.

    Attributes
    ----------
    files : TensorStore
        The strategy's, which sets it: for what need not be in memory.
    aggregation : Aggregation
        The strategy's, which sets it: how what clients trained becomes one.
    """

    files: TensorStore
    aggregation: Aggregation

    def snapshot(self) -> Any:
        """Return what a round changes before its end, copied; nothing by default."""
        return None

    def restore(self, saved: Any) -> None:
        """Put back what :meth:`snapshot` returned; it may be put back again."""

    def forget(self, clients: Iterable[int]) -> None:
        """Take note of clients that were left out: what they were sent may be lost."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs, under names that no other part has."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, which holds all parts' entries."""


class AveragedPart(Part, ABC):
    """A part of which a round averages one for each client, beside the client half."""

    @abstractmethod
    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return the weights that a client's own has come to in this round, by name."""
