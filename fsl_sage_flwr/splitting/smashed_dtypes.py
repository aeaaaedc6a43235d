"""Dtypes of smashed data: as they are computed, and as they are sent.

A half that computes in 16 bits sends float32, which holds every value of them, so that heads,
estimates and gradients are float32; its other half casts them back.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SIXTEEN_BITS = (torch.float16, torch.bfloat16)


def as_sent(tensor: Tensor) -> Tensor:
    """Return smashed data as they are sent: 16-bit floats as float32, all others unchanged."""
    return tensor.float() if tensor.dtype in SIXTEEN_BITS else tensor


def float_dtypes(module: nn.Module) -> list[torch.dtype]:
    """Return the floating-point dtypes of a module's parameters, in their order."""
    return list(dict.fromkeys(p.dtype for p in module.parameters() if p.is_floating_point()))


class CastInputs:
    """Casts the floating-point inputs of a module, as a forward pre-hook.

    Parameters
    ----------
    dtypes : sequence of torch.dtype
        One per input; those of other inputs are not used.
    """

    def __init__(self, dtypes: Sequence[torch.dtype]) -> None:
        self.dtypes = tuple(dtypes)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the inputs in the dtypes."""
        return tuple(
            value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
            for value, dtype in zip(inputs, self.dtypes, strict=True)
        )


def cast_inputs(module: nn.Module, dtypes: Sequence[torch.dtype]) -> None:
    """Make a module cast its inputs; a module that does so already is left as it is."""
    if not any(isinstance(hook, CastInputs) for hook in module._forward_pre_hooks.values()):
        module.register_forward_pre_hook(CastInputs(dtypes))


def cast_to_parameters(head: nn.Module, computed: Sequence[torch.dtype]) -> None:
    """Make a head cast smashed data to a dtype of its parameters.

    Parameters
    ----------
    head : nn.Module
        Auxiliary head.
    computed : sequence of torch.dtype
        Dtypes in which the halves compute the smashed data. They are preferred to the dtypes in
        which smashed data are sent, and these to any other.
    """
    own = float_dtypes(head)
    sent = [torch.float32 if dtype in SIXTEEN_BITS else dtype for dtype in computed]
    wanted = [
        next((d for d in (first, then) if d in own), own[0] if own else then)
        for first, then in zip(computed, sent, strict=True)
    ]
    cast_inputs(head, wanted)
