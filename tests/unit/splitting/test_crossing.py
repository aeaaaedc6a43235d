"""Tensors of any layout cross as one row per sample, and arrive as they were."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.splitting import SplitError
from fsl_sage_flwr.splitting.crossing import TensorSpec, masked_value


@given(
    batch=st.integers(2, 5),
    rows=st.integers(1, 3),
    axis=st.integers(0, 2),
    rest=st.lists(st.integers(1, 4), min_size=2, max_size=2),
)
def test_a_tensor_arrives_as_it_was(batch: int, rows: int, axis: int, rest: list[int]) -> None:
    def made(count: int) -> torch.Tensor:
        return torch.randn(*rest[:axis], rows * count, *rest[axis:])

    spec = TensorSpec.between(made(batch), made(batch + 1), batch, batch + 1)
    assert (spec.axis, spec.rows) == (axis, rows)
    for count in (batch, batch + 3):
        tensor = made(count)
        packed = spec.pack(tensor, count)
        assert len(packed) == count
        arrived = spec.unpack(packed.contiguous())
        assert torch.equal(arrived, tensor)
        assert arrived.stride() == tensor.stride()
        assert spec.zeros(count, torch.device("cpu")).shape == tensor.shape


def test_a_tensor_of_the_whole_batch_crosses_once_per_sample_and_gets_one_gradient() -> None:
    bias = torch.randn(1, 2, 3, requires_grad=True)
    spec = TensorSpec.between(bias, bias, 4, 5)
    packed = spec.pack(bias, 4)
    assert packed.shape == (4, 1, 2, 3)
    smashed = packed.detach().requires_grad_()
    (spec.unpack(smashed) * 3).sum().backward()
    packed.backward(smashed.grad)
    assert torch.equal(bias.grad, torch.full_like(bias, 3.0))


def test_a_size_that_is_no_number_of_rows_is_refused() -> None:
    with pytest.raises(SplitError, match=r"shape \(7, 2\) in a batch of 3 has shape \(9, 2\)"):
        TensorSpec.between(torch.zeros(7, 2), torch.zeros(9, 2), 3, 4)


@pytest.mark.parametrize("value", [-torch.inf, torch.finfo(torch.float32).min, -1e4])
def test_an_additive_mask_crosses_as_booleans(value: float) -> None:
    mask = torch.zeros(3, 4)
    mask[0, 2:] = value
    found = masked_value([mask, torch.zeros(2, 4)])
    assert found == value
    spec = TensorSpec((3, 4), torch.float32, 3, 0, masked=found)
    packed = spec.pack(mask, 3)
    assert packed.dtype == torch.bool
    assert torch.equal(spec.unpack(packed), mask)


@pytest.mark.parametrize(
    "tensors",
    [
        [torch.tensor([0.0, -3.0])],
        [torch.tensor([0.0, -1e5, -1e6])],
        [torch.tensor([0.0, -1e5]), torch.tensor([-1e6])],
        [torch.zeros(2)],
        [torch.tensor([0, -100_000])],
    ],
)
def test_other_tensors_are_no_additive_masks(tensors: list[torch.Tensor]) -> None:
    assert masked_value(tensors) is None
