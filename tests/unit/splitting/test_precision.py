import os

import pytest
import torch
from torch import nn

from fsl_sage_flwr.splitting import autocast, set_up_gpu, to_device
from fsl_sage_flwr.splitting.precision import PRECISIONS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_autocast_of_a_product(precision, dtype):
    assert precision in PRECISIONS
    left, right = torch.randn(4, 4), torch.randn(4, 4)
    with autocast(CPU, precision):
        assert (left @ right).dtype == dtype
    assert (left @ right).dtype == torch.float32


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_images_and_convolutions_are_channels_last_for_bf16_only(precision):
    images = torch.randn(2, 3, 4, 5)
    moved = to_device(images, CPU, precision)
    assert is_channels_last(moved) == (precision == "bf16")
    assert torch.equal(moved, images)
    convolution = to_device(nn.Conv2d(3, 4, 3), CPU, precision)
    assert is_channels_last(convolution.weight) == (precision == "bf16")
    assert convolution.weight.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_other_tensors_keep_their_layout(shape, precision):
    tensor = torch.randn(*shape)
    moved = to_device(tensor, CPU, precision)
    assert torch.equal(moved, tensor)
    assert moved.is_contiguous()


def test_to_device_moves():
    assert to_device(torch.zeros(2, 3, 4, 4), torch.device("meta"), "bf16").device.type == "meta"
    moved = to_device(nn.Linear(2, 2), torch.device("meta"), "fp32")
    assert moved.weight.device.type == "meta"


def flags():
    return (
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.cudnn_sdp_enabled(),
    )


@pytest.fixture
def own_flags(monkeypatch):
    """PyTorch's defaults again after the test: they belong to the whole process."""
    before = flags()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "chosen by the user")
    yield before
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])
    torch.use_deterministic_algorithms(before[2])
    torch.backends.cuda.enable_flash_sdp(before[3])
    torch.backends.cuda.enable_mem_efficient_sdp(before[4])
    torch.backends.cuda.enable_cudnn_sdp(before[5])
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", (False, "highest")), ("tf32", (True, "high")), ("bf16", (False, "highest"))],
)
def test_a_gpu_repeats_itself_and_rounds_only_when_told(own_flags, precision, expected):
    set_up_gpu(torch.device("cuda:0"), precision)
    assert flags() == (*expected, True, False, False, False)
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == "chosen by the user"


def test_a_cpu_is_left_as_it_is(own_flags):
    set_up_gpu(CPU, "tf32")
    assert flags() == own_flags
