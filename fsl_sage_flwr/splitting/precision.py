"""Device, memory format and autocast of the training steps."""

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value", Tensor, nn.Module)

PRECISIONS = ("fp32", "bf16")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs.

    ``"bf16"`` autocasts; ``"fp32"`` changes nothing. Smashed data and gradients leave
    the context as float32, so that messages have the same types with both.
    """
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def to_device(value: Value, device: torch.device, precision: str) -> Value:
    """Move to the device; for bf16, also change images and modules to channels_last."""
    moved: Value = value.to(device)
    if precision == "bf16" and (isinstance(moved, nn.Module) or moved.dim() == 4):
        return moved.to(memory_format=torch.channels_last)
    return moved
