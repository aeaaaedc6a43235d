"""Device, memory format, precision and repeatability of the training steps."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value", Tensor, nn.Module)

PRECISIONS = ("fp32", "tf32", "bf16")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs.

    ``"bf16"`` autocasts; the others change nothing. Smashed data and gradients leave
    the context as float32, so that messages have the same types with all.
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


def set_up_gpu(device: torch.device, precision: str) -> None:
    """Let this process's GPU compute the same every time, and in float32 unless told otherwise.

    PyTorch's own defaults for a GPU do neither: convolutions round their operands to TF32,
    and some gradients are summed in any order. An operation that has no repeatable form warns.
    Attention takes PyTorch's plain form, which needs more memory: where operations only warn,
    its fused forms do not repeat themselves. A CPU needs nothing of this.

    Parameters
    ----------
    device : torch.device
        Where this process computes.
    precision : str
        One of ``PRECISIONS``. ``"tf32"`` lets convolutions and matrix products round their
        operands to TF32 (10 bits of mantissa); sums and all else stay float32.
    """
    if device.type != "cuda":
        return
    tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.benchmark = False
    # cuBLAS reads it when it is first used, and repeats itself only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    # It is there to find bugs, and has its price.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
