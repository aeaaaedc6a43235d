"""Load what the server sends, or say in one line why it does not fit."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..task import SplitTask


class MisfitError(RuntimeError):
    """What the server sends does not fit what this node trains."""


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], what: str, task: SplitTask
) -> None:
    """Load a message's values into a module of the task.

    torch's own error is a line per tensor; the usual cause is one: the node's own data have
    other classes, or images of another shape, than the run's dataset.

    Parameters
    ----------
    module : nn.Module
        The client half, the server half or the head.
    tensors : Mapping
        Values by name.
    what : str
        Its name in the error.
    task : SplitTask
        What this node trains.

    Raises
    ------
    MisfitError
        A tensor is missing, unknown or of another shape.
    """
    own = module.state_dict()
    odd = sorted(set(own) ^ set(tensors))
    wrong = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    if odd or wrong:
        first = (wrong or odd)[0]
        there, here = (
            f"{tuple(side[first].shape)}" if first in side else "missing" for side in (tensors, own)
        )
        raise MisfitError(
            f"the server's {what} does not fit this node: {first!r} is {there} there and {here} "
            f"here, made for {task.num_classes} classes and inputs of shape "
            f"{tuple(task.example.shape[1:])}; give this node data with the classes (ClassLabel) "
            "and the image shape of the run's dataset, and the run's version of the package"
        )
    module.load_state_dict(tensors)


def load_half(half: nn.Module, whole: Mapping[str, Tensor], task: SplitTask) -> None:
    """Load a half's own values out of a whole model's."""
    own = {name: whole[name] for name in half.state_dict() if name in whole}
    load_weights(half, own, "model", task)
