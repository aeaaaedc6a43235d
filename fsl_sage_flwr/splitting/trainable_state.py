"""Read and load the part of a module that training can change."""

from collections.abc import Mapping

from torch import Tensor, nn


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name; tied ones under all their names."""
    named = module.named_parameters(remove_duplicate=False)
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def trainable_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that require a gradient, and the buffers, by name."""
    named = module.named_parameters(remove_duplicate=False)  # tied weights have two names
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


def load_trainable_state(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the result of :func:`trainable_state`, with or without frozen parameters.

    Raises
    ------
    KeyError
        A tensor is missing or unknown.
    """
    odd = set(trainable_state(module)) - set(weights) or set(weights) - set(module.state_dict())
    if odd:
        raise KeyError(
            f"{sorted(odd)[0]!r} is missing or unknown; give what trainable_state returns"
        )
    module.load_state_dict(weights, strict=False)
