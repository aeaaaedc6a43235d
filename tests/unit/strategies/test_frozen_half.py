"""A frozen half: the other one is trained alone, as without a split."""

from dataclasses import replace

import pytest
import torch
from flwr.app import Context
from torch import nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import split, trainable_state
from fsl_sage_flwr.strategies import (
    CseFsl,
    FslSage,
    HeronSfl,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
    SplitStrategy,
)
from fsl_sage_flwr.task import SplitTask

from ...memory_grid import MemoryGrid
from ...parity.test_split_fed import plain_loop
from ...runs import assert_same
from ...tasks import few_batches, small_task


def frozen_task(context: Context | None = None, **changes: object) -> SplitTask:
    task = small_task(dropout=0.0, **changes)
    task.model.client.requires_grad_(False)
    return task


def trained(make: type[SplitStrategy], clients: int, **changes: object) -> SplitStrategy:
    def task(context: Context | None = None) -> SplitTask:
        return frozen_task(**changes)

    strategy = make(task())
    nodes = MemoryGrid(build_client_app(task), clients)
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert strategy.last_round.failures == {}
    assert result.arrays is not None
    strategy.model_state(result.arrays)
    return strategy


def names_of_parameters(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2])
def test_exchanges_train_the_server_half_alone(make: type[SplitStrategy]) -> None:
    strategy = trained(make, 1)
    whole = plain_loop(frozen_task(), 2)
    assert_same(strategy.task.model.merged_state_dict(), whole)


@pytest.mark.sample
@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2, CseFsl, FslSage])
def test_frozen_weights_keep_their_bits(make: type[SplitStrategy]) -> None:
    strategy = trained(make, 3)
    before, after = frozen_task().model, strategy.task.model
    for name, parameter in after.client.named_parameters():
        assert torch.equal(parameter, before.client.get_parameter(name)), name
    changed = [
        name
        for name, parameter in after.server.named_parameters()
        if not torch.equal(parameter, before.server.get_parameter(name))
    ]
    assert set(changed) == names_of_parameters(after.server)


@pytest.mark.parametrize("make", [SplitFrozen, CseFsl])
def test_a_backbone_that_is_frozen_before_the_cut(
    make: type[SplitStrategy], caplog: pytest.LogCaptureFixture
) -> None:
    def task(context: Context | None = None) -> SplitTask:
        made = small_task(dropout=0.0)
        uncut = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        uncut[0].requires_grad_(False)
        example = torch.zeros(2, 4)
        batches = [(torch.ones(2, 4), torch.tensor([0, 1]))]
        return replace(
            made, model=split(uncut, "2", example), example=example,
            train_batches=lambda client, seed: batches, validation_batches=None, num_classes=3,
        )  # fmt: skip

    strategy = make(task())
    strategy.start(MemoryGrid(build_client_app(task), 2), strategy.initial_arrays(), num_rounds=1)
    assert strategy.rounds_trained == 1
    warned = f"so that {make.__name__} trains the server half alone" in caplog.text
    assert warned == (make is not SplitFrozen)


@pytest.mark.slow
def test_nothing_but_buffers_may_travel() -> None:
    """An adapter's state of a frozen half has no parameters at all."""

    def load(module: nn.Module, weights: object) -> None:
        module.load_state_dict(weights, strict=False)  # type: ignore[arg-type]

    strategy = trained(
        SplitFedV1, 2, weights_of=trainable_state, load_weights=load, train_batches=few_batches
    )
    assert all("num" in name or "running" in name for name in strategy.trained.current())


@pytest.mark.slow
@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2, CseFsl, FslSage, HeronSfl])
def test_a_frozen_server_half_leaves_the_client_half_to_be_trained(
    make: type[SplitStrategy],
) -> None:
    def task(context: Context | None = None) -> SplitTask:
        made = small_task(dropout=0.0)
        made.model.server.requires_grad_(False)
        return made

    strategy = make(task())
    nodes = MemoryGrid(build_client_app(task), 3)
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert strategy.last_round.failures == {}
    assert result.arrays is not None
    strategy.model_state(result.arrays)
    before, after = task().model, strategy.task.model
    for name, parameter in after.server.named_parameters():
        assert torch.equal(parameter, before.server.get_parameter(name)), name
    for name, parameter in after.client.named_parameters():
        assert not torch.equal(parameter, before.client.get_parameter(name)), name


def test_a_head_of_a_frozen_server_half_is_trained() -> None:
    task = small_task()
    task.model.server.requires_grad_(False)
    assert all(parameter.requires_grad for parameter in task.new_head(0).parameters())
