"""A run records the floating-point operations of a sample, and measuring them changes nothing."""

import copy
import json
from pathlib import Path

import torch

from fsl_sage_flwr import Compression, Recorder
from fsl_sage_flwr.compression import CODECS
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.flops import flops_of
from fsl_sage_flwr.strategies import CseFsl, FullModelFedAvg

from ...memory_grid import MemoryGrid
from ...runs import assert_same
from ...tasks import CLIENTS, client_of, small_app, small_batches, small_task


def by_hand(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Count two operations per weight and output position of each layer."""
    total = 0

    def count(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = getattr(layer, "weight", None)
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and weight is not None:
            positions = output[0].numel() // len(weight)
            total += 2 * weight.numel() * positions

    hooks = [layer.register_forward_hook(count) for layer in module.modules()]
    with torch.no_grad():
        module.eval()(*inputs)
    module.train()
    for hook in hooks:
        hook.remove()
    return total


def test_they_are_those_of_the_layers() -> None:
    task = small_task()
    found = flops_of(CseFsl(task))
    smashed = task.smashed_example()
    inputs = task.example if isinstance(task.example, tuple) else (task.example,)
    assert found["client"] == by_hand(task.model.client, inputs) > 0
    assert found["server"] == by_hand(task.model.server, smashed) > 0
    assert found["head"] == by_hand(task.head, smashed) > 0
    assert flops_of(FullModelFedAvg(task))["head"] == 0


def test_measuring_changes_no_weight_and_draws_nothing() -> None:
    strategy = CseFsl(small_task())
    task = strategy.task
    halves = {"client": task.model.client, "server": task.model.server, "head": task.head}
    before = {name: copy.deepcopy(half.state_dict()) for name, half in halves.items()}
    random = torch.get_rng_state()
    flops_of(strategy)
    assert torch.equal(torch.get_rng_state(), random)
    for name, half in halves.items():
        assert half.training
        assert_same(half.state_dict(), before[name])


def test_a_run_writes_them(tmp_path: Path) -> None:
    strategy = CseFsl(small_task(), keep_optimizer_state=False)
    batches = list(small_batches(client_of(0), 9))
    Recorder(strategy, tmp_path, lambda: batches).train(MemoryGrid(small_app(), CLIENTS), 1)
    found = json.loads(RunDirectory.flops_of(tmp_path).read_text(encoding="utf-8"))
    assert found == flops_of(strategy)


def test_codecs_are_in_operations_per_coded_byte() -> None:
    assert "coding" not in flops_of(CseFsl(small_task()))
    codecs = Compression(smashed="q4", client_half_down="q8", auxiliary="f16")
    coding = flops_of(CseFsl(small_task(), compression=codecs))["coding"]
    q4, q8, f16 = (CODECS[name] for name in ("q4", "q8", "f16"))
    assert coding == {
        "down": {
            "client_half": 8 * q8.operations.decode / q8.bits.weights,
            "full_model": 8 * q8.operations.decode / q8.bits.weights,
            "auxiliary": 8 * f16.operations.decode / f16.bits.weights,
        },
        "up": {
            "auxiliary": 8 * f16.operations.encode / f16.bits.weights,
            "smashed": 8 * q4.operations.encode / q4.bits.activations,
        },
    }
    assert all(value > 0 for own in coding.values() for value in own.values())
