"""A client, and the batches of its data."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..splitting import Inputs

Batch = tuple[Inputs, Tensor]


@dataclass(frozen=True)
class ClientIdentity:
    """Identity of one client.

    Attributes
    ----------
    partition_id : int
        The client's number, in ``range(num_partitions)``.
    num_partitions : int
        Number of clients in the federation.
    node_config : Mapping
        The node's whole configuration, as set by its operator.
    secret : bytes or None
        Secret of this node, constant during a run; drawn by ``label_secret_mod``, otherwise None.
    """

    partition_id: int
    num_partitions: int
    node_config: Mapping[str, object] = field(default_factory=dict)
    secret: bytes | None = field(default=None, repr=False)


@runtime_checkable
class NumberedBatches(Protocol):
    """Batches with the sample numbers of a client's data."""

    def sample_numbers(self, k: int) -> Tensor:
        """Return the numbers of the samples in batch ``k``.

        ``(B,)``, integers from 0, in the order of the batch. A sample keeps its number in all
        epochs and rounds, whatever its augmentation; consecutive numbers are best.
        """


TrainBatches = Callable[[ClientIdentity, int], Iterable[Batch]]
ValidationBatches = Callable[[ClientIdentity], Iterable[Batch]]
