"""Set device, memory format, precision and repeatability of the training steps."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value", Tensor, nn.Module)

PRECISIONS = ("fp32", "tf32", "bf16")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs.

    ``"bf16"`` autocasts; the others change nothing. Smashed data and gradients leave the context as
    float32, so that messages have the same types at every precision.
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
    """Make this process's GPU repeatable, and compute in float32 by default.

    PyTorch's defaults for a GPU do neither: convolutions round their operands to TF32, and some
    gradients are summed in any order. An operation without a repeatable form warns. Attention uses
    PyTorch's plain form, which needs more memory: its fused forms are not repeatable when such
    operations only warn. Does nothing on a CPU.

    Parameters
    ----------
    device : torch.device
        Device of this process's computations.
    precision : str
        One of ``PRECISIONS``. ``"tf32"`` lets convolutions and matrix products round their
        operands to TF32 (10 bits of mantissa); everything else stays float32.
    """
    if device.type != "cuda":
        return
    tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.benchmark = False
    # Read by cuBLAS at its first use; cuBLAS is repeatable only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    # A debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
