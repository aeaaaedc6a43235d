"""Name modules that have several names by the path on which the forward calls them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from .errors import SplitError, running_the_model
from .inputs import Arguments
from .model_state import unchanged
from .pytree import leaves_of
from .submodules import ancestors_of

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def name_as_called(
    model: nn.Module, arguments: Arguments, inputs: tuple[Tensor, ...]
) -> dict[str, str]:
    """Order submodules so that the first name of each is the one by which it is called.

    An nnU-Net lists its blocks, and calls them inside modules that hold the same blocks. A cut is
    found by the names of the modules around it, so these must be the ones that run.

    Parameters
    ----------
    model : nn.Module
        Shells, of which the order of submodules changes.
    arguments : Arguments
        How the forward takes its inputs.
    inputs : tuple of Tensor
        The example.

    Returns
    -------
    dict of str to str
        For each first name that has changed, the new one.
    """
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    several = {key: found for key, found in names.items() if len(found) > 1}
    if not several:
        return {}
    around: dict[int, set[int]] = {}
    before = _outputs(model, arguments, inputs, lambda key, active: around.setdefault(key, active))
    orders = [(module, dict(module._modules)) for module in model.modules()]
    for key, active in around.items():
        if key in several:
            known = several[key]
            best = max(known, key=lambda name: len(active & _ids_around(model, name)))
            _put_first(model, known[0], best)
    after = _outputs(model, arguments, inputs, lambda key, active: None)
    if len(before) != len(after) or not all(map(torch.equal, before, after)):
        for module, order in orders:  # its forward goes through its children in their order
            module._modules = order
    new = {id(module): name for name, module in model.named_modules()}
    return {found[0]: new[key] for key, found in several.items() if found[0] != new[key]}


def _outputs(
    model: nn.Module,
    arguments: Arguments,
    inputs: tuple[Tensor, ...],
    called: Callable[[int, set[int]], Any],
) -> Sequence[Tensor]:
    """Return the outputs of a pass in eval mode; ``called`` gets each module and those around."""
    active: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        called(id(module), set(active))
        active.append(id(module))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        active.pop()

    outputs: Any = ()
    with unchanged(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for module in model.modules():
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
        torch.manual_seed(0)
        with suppress(SplitError), running_the_model("the model"):
            outputs = arguments.apply(model.eval(), [tensor.clone() for tensor in inputs])
    return leaves_of(outputs, Tensor)


def _ids_around(model: nn.Module, name: str) -> set[int]:
    return {id(model.get_submodule(ancestor)) for ancestor in ancestors_of(name)}


def _put_first(model: nn.Module, first: str, preferred: str) -> None:
    """Put a name in front of another of the same module, where the two paths part."""
    one, other = first.split("."), preferred.split(".")
    parted = [k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if not parted:
        return
    owner = model.get_submodule(".".join(one[: parted[0]]))
    if not isinstance(owner, CONTAINERS):
        child = other[parted[0]]
        owner._modules = {child: owner._modules[child], **owner._modules}
