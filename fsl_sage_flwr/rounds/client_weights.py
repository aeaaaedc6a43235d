"""The weights that clients train, and that Flower averages."""

from collections.abc import Mapping, Sequence

from flwr.app import ArrayRecord
from torch import Tensor, nn

from ..splitting import trainable_parameters
from ..task import SplitTask


class ClientHalfWeights:
    """Weights of the client half; an algorithm whose clients train others derives from it.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    """

    def __init__(self, task: SplitTask) -> None:
        self.task = task

    def current(self) -> Mapping[str, Tensor]:
        """Return the current weights, buffers among them."""
        return self.task.weights_of(self.task.model.client)

    def parameters(self) -> Mapping[str, Tensor]:
        """Return the parameters that clients train, by their names in the weights."""
        return trainable_parameters(self.task.model.client)

    def parts(
        self, weights: Mapping[str, Tensor]
    ) -> Sequence[tuple[nn.Module, Mapping[str, Tensor]]]:
        """Return the halves that clients train, each with its part of a reply's weights."""
        return [(self.task.model.client, weights)]

    def client_half(self, average: ArrayRecord) -> ArrayRecord:
        """Return the client half in an average; load the rest of it into the model."""
        return average
