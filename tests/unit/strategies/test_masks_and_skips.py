"""Texts with masks and pictures with skips train with every kind of algorithm."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import AlignmentRecipe, SplitError
from fsl_sage_flwr.strategies import CseFsl, FslSage, FullModelFedAvg, SplitFedV1, SplitFedV2
from fsl_sage_flwr.task import SplitTask

from ...memory_grid import MemoryGrid
from ...readers import CausalReader, outliner_task, own_length_task, reader_task
from ...runs import assert_same, train
from ...tasks import client_of

STRATEGIES: dict[str, Any] = {
    "fsl_sage": partial(FslSage, recipe=AlignmentRecipe(2, 6), align_interval=2),
    "cse_fsl": CseFsl,
    "split_fed_v1": SplitFedV1,
    "split_fed_v2": SplitFedV2,
}
TASKS: dict[str, Callable[[], SplitTask]] = {
    "texts": reader_task,
    "texts of their own length": own_length_task,
    "texts with an infinite mask": partial(reader_task, CausalReader),
    "outlines": outliner_task,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("fsl_sage", kind) for kind in TASKS), *((n, "texts") for n in list(STRATEGIES)[1:])],
)
def test_three_rounds_train_every_weight(name: str, kind: str) -> None:
    make = TASKS[kind]
    strategy = STRATEGIES[name](make(), fraction_evaluate=1.0)
    start = strategy.initial_arrays().to_torch_state_dict()
    server = [p.detach().clone() for p in strategy.task.model.server.parameters()]
    grid = MemoryGrid(build_client_app(lambda context: make()), 3)
    trained = train(strategy, grid, 3).to_torch_state_dict()
    assert strategy.last_round.failures == {}
    moved = {key for key, tensor in trained.items() if not torch.equal(tensor, start[key])}
    constants = {key for key, tensor in start.items() if tensor.isinf().any()}
    assert moved | constants == set(start)
    after = strategy.model_state(train(strategy, grid, 1))[1]
    ours = dict(strategy.task.model.server.named_parameters())
    for before, key in zip(server, ours, strict=True):
        assert not torch.equal(before, after[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("kind", TASKS)
def test_v1_is_fed_avg_of_it(kind: str) -> None:
    make = TASKS[kind]

    def trained(strategy: Any) -> Any:
        grid = MemoryGrid(build_client_app(lambda context: make()), 3)
        return train(strategy, grid, 2)

    split_one = SplitFedV1(make())
    client, server = split_one.model_state(trained(split_one))
    assert_same({**client, **server}, trained(FullModelFedAvg(make())))


@pytest.mark.slow
def test_masks_cross_as_they_are_and_get_no_gradient() -> None:
    grid = MemoryGrid(build_client_app(lambda context: reader_task()), 2)
    train(SplitFedV2(reader_task()), grid, 1)
    up = [c.array_records["smashed"] for c in grid.received if "smashed" in c]
    down = [c.array_records["gradients"] for c in grid.sent if "gradients" in c]
    assert [array.dtype for array in up[0].values()] == ["float32", "int64"]
    assert {len(record) for record in down} == {1}


def test_batches_with_other_names_are_refused_by_name() -> None:
    task = reader_task()
    inputs, labels = next(iter(task.train_batches(client_of(0), 1)))
    assert isinstance(inputs, dict)
    wrong = {"input_ids": inputs["input_ids"], "mask": inputs["attention_mask"]}
    with pytest.raises(SplitError, match=r"inputs input_ids, mask; .* attention_mask, input_ids"):
        task.on_device((wrong, labels))
