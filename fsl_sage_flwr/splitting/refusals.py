"""Refuse models, names and inputs that cannot be cut, before anything runs."""

from collections.abc import Collection
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .errors import SplitError
from .inputs import Arguments, Inputs, as_tensors
from .submodules import ancestors_of


def refuse_other_arguments(model: object, at: object) -> None:
    """Refuse what is no model, and what is no name."""
    if not isinstance(model, nn.Module):
        raise SplitError(f"model is a {type(model).__name__}; give an nn.Module.")
    if not isinstance(at, str):
        raise SplitError(
            f"at = {at!r}: give the name of a submodule as text, such as "
            f"{next((name for name, _ in model.named_children()), 'layer3')!r}."
        )


def refuse_unfit(model: nn.Module, at: str) -> None:
    """Refuse models with a forward that is not Python's."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and name in ancestors_of(at):
            raise SplitError(
                f"{name or 'the model'} is a TorchScript module, which cannot be cut; cut the "
                "nn.Module that it was made from."
            )
        compiled = getattr(module, "_compiled_call_impl", None) is not None or isinstance(
            vars(module).get("_modules", {}).get("_orig_mod"), nn.Module
        )
        if compiled and name in ancestors_of(at):
            raise SplitError(
                f"{name or 'the model'} is compiled, and what is compiled cannot be cut; cut the "
                "model before torch.compile, and compile the halves."
            )


def refuse_lazy(model: nn.Module) -> None:
    """Refuse parameters without a shape."""
    lazy = [name for name, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise SplitError(
            f"parameter {lazy[0]!r} has no shape yet (a lazy module); call the model once on a "
            "batch before split."
        )


def refuse_unknown(public: Collection[str], arguments: Arguments) -> None:
    """Refuse names of public inputs that the example does not give."""
    unknown = [name for name in public if name not in arguments.names]
    if isinstance(public, str) or unknown:
        raise SplitError(
            f"public = {public!r}: give a tuple of input names; the example has "
            f"{', '.join(arguments.names)}."
        )


def full_name(model: nn.Module, at: str) -> str:
    """Return the qualified name of the submodule with this name or this unique ending.

    Raises
    ------
    SplitError
        No submodule matches, or several do.
    """
    modules: list[str] = [name for name, _ in model.named_modules()]
    if at in modules and at:
        return at
    for name, module in model.named_modules(remove_duplicate=False):
        if name == at and at:  # a second name
            return modules[[known for _, known in model.named_modules()].index(module)]
    ends = [name for name in modules if at and name.endswith(f".{at}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise SplitError(
            f"cut {at!r} is the end of several names: {', '.join(ends[:4])}; give a longer ending."
        )
    named = ", ".join(name for name, _ in model.named_children())
    close = get_close_matches(at, modules, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SplitError(
        f"cut {at!r} is not a submodule of {type(model).__name__}.{hint} "
        f"Its children are: {named}; any name of named_modules() is valid."
    )


def smaller_batch(
    model: nn.Module, smaller: Inputs, arguments: Arguments, example: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the tensors of the smaller batch, if it is one."""
    tensors = as_tensors(smaller)
    same = Arguments.of(model, smaller).names == arguments.names
    if not same or arguments.count(tensors) != arguments.count(example):
        raise SplitError("smaller: give a batch with the example's inputs and number of samples.")
    return tensors
