"""A GPU computes what the CPU does, within float32's noise, and the same every time.

``benchmarks/gpu.sh`` runs this on a machine with one, and there the other tests of strategies as
well. Without one the same code compares the CPU with itself, bit for bit, so that it is run
somewhere.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.splitting import set_up_gpu
from fsl_sage_flwr.strategies import SplitStrategy

from ..memory_grid import MemoryGrid
from ..runs import (
    ampere,
    app_for,
    cse_fsl,
    cycle_sl,
    fed_avg,
    fsl_sage,
    heron_sfl,
    mu_splitfed,
    split_fed_v1,
    split_fed_v2,
    split_frozen,
)
from ..tails import u_shaped_v1, u_shaped_v2
from ..tasks import CLIENTS

CPU = torch.device("cpu")
ALGORITHMS = [
    fed_avg,
    split_fed_v1,
    split_fed_v2,
    cycle_sl,
    cse_fsl,
    fsl_sage,
    heron_sfl,
    mu_splitfed,
    split_frozen,
    ampere,
    u_shaped_v1,
    u_shaped_v2,
]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_DEVICES = [(fsl_sage, "cpu"), *(pytest.param(make, "cuda", marks=GPU) for make in ALGORITHMS)]


def trained(
    make: Callable[..., SplitStrategy], device: torch.device, dropout: float, precision: str
) -> tuple[dict[str, Tensor], Any]:
    """Train two rounds on a device; return both halves and the strategy."""
    set_up_gpu(device, precision)
    setting = {"dropout": dropout, "device": device, "precision": precision}
    strategy = make(setting)
    nodes = MemoryGrid(app_for(make, **setting), CLIENTS)
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert result.arrays is not None
    client, server = strategy.model_state(result.arrays)
    return {name: tensor.cpu() for name, tensor in {**client, **server}.items()}, strategy


@pytest.mark.slow
@pytest.mark.parametrize(("make", "device"), ON_DEVICES)
def test_two_rounds_of_every_algorithm(make: Callable[..., SplitStrategy], device: str) -> None:
    expected, on_cpu = trained(make, CPU, 0.0, "fp32")
    found, there = trained(make, torch.device(device), 0.0, "fp32")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if device == "cpu":
            assert torch.equal(found[name], tensor), name
        else:
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
    assert there.ledger.by_kind() == on_cpu.ledger.by_kind()


@pytest.mark.slow
@pytest.mark.parametrize(("make", "device"), ON_DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_two_runs_are_one(make: Callable[..., SplitStrategy], device: str, precision: str) -> None:
    """With dropout, whose random numbers a GPU draws itself."""
    first, _ = trained(make, torch.device(device), 0.2, precision)
    second, _ = trained(make, torch.device(device), 0.2, precision)
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor), name
