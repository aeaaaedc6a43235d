"""Load the server's weights, or explain in one line why they do not fit."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..messages import MissingPayloadError
from ..task import SplitTask


class WeightMismatchError(RuntimeError):
    """The server's weights do not fit this node's model."""


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor] | None, what: str, task: SplitTask
) -> None:
    """Load a message's values into a module of the task.

    torch's own error has a line per tensor. The usual cause is simple: the classes or image shape
    of the node's own data differ from the run's dataset.

    Parameters
    ----------
    module : nn.Module
        Client half, server half or head.
    tensors : Mapping or None
        Values by the names of ``task.weights_of``.
    what : str
        Name of the module in the error.
    task : SplitTask
        Task of this node.

    Raises
    ------
    MissingPayloadError
        The message has no values.
    WeightMismatchError
        A tensor is missing, unknown or of another shape.
    """
    if tensors is None:
        raise MissingPayloadError(f"the message carries no {what}")
    own = task.weights_of(module)
    odd = sorted(set(own) ^ set(tensors))
    wrong = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    if odd or wrong:
        first = (wrong or odd)[0]
        theirs, ours = (
            f"{tuple(side[first].shape)}" if first in side else "missing" for side in (tensors, own)
        )
        fix = (
            "give this node the run's model and data"
            if task.num_classes is None
            else "give this node data with the classes (ClassLabel) and the image shape of the "
            "run's dataset"
        )
        raise WeightMismatchError(
            f"the server's {what} does not fit this node: {first!r} is {theirs} there and {ours} "
            f"here, made for {task.made_for()}; {fix}, and the run's version of the package"
        )
    task.load_weights(module, tensors)


def load_whole(whole: Mapping[str, Tensor] | None, task: SplitTask) -> None:
    """Load a whole model's values into both halves."""
    client, server = (None, None) if whole is None else task.parted(whole)
    load_weights(task.model.client, client, "model", task)
    load_weights(task.model.server, server, "model", task)
