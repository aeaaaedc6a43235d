"""Load what the server sends, or say in one line why it does not fit."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..messages import MissingPayloadError
from ..task import SplitTask


class WeightMismatchError(RuntimeError):
    """What the server sends does not fit what this node trains."""


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor] | None, what: str, task: SplitTask
) -> None:
    """Load a message's values into a module of the task.

    torch's own error is a line per tensor; the usual cause is one: the node's own data have
    other classes, or images of another shape, than the run's dataset.

    Parameters
    ----------
    module : nn.Module
        The client half, the server half or the head.
    tensors : Mapping or None
        Values by name, as ``task.weights_of`` names them.
    what : str
        Its name in the error.
    task : SplitTask
        What this node trains.

    Raises
    ------
    MissingPayloadError
        There are none.
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
