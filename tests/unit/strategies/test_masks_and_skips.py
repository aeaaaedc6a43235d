"""Texts with masks and pictures with skips train with every kind of algorithm."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app, smashed_noise_mod
from fsl_sage_flwr.compression import CODECS, Compression
from fsl_sage_flwr.splitting import AlignmentRecipe, as_tensors, split
from fsl_sage_flwr.splitting.steps import answer_step, client_forward
from fsl_sage_flwr.strategies import (
    Ampere,
    CseFsl,
    CycleSl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    MuSplitFed,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
)
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ...memory_grid import MemoryGrid
from ...readers import CausalReader, outliner_task, own_length_task, reader_task, texts_of
from ...runs import assert_same, train
from ...tasks import client_of

STRATEGIES: dict[str, Any] = {
    "fsl_sage": partial(FslSage, recipe=AlignmentRecipe(2, 6), align_interval=2),
    "cse_fsl": CseFsl,
    "split_fed_v1": SplitFedV1,
    "split_fed_v2": SplitFedV2,
}
OTHERS: dict[str, Any] = {
    "heron_sfl": HeronSfl,
    "cycle_sl": CycleSl,
    "mu_splitfed": partial(MuSplitFed, server_steps=2),
    "ampere": partial(Ampere, client_rounds=2),
    "split_frozen": SplitFrozen,
    "cse_fsl, pooled": partial(CseFsl, server_pool=True),
    "fsl_sage, pooled": partial(STRATEGIES["fsl_sage"], server_pool=True),
    "heron_sfl, pooled": partial(HeronSfl, server_pool=True),
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
@pytest.mark.parametrize("name", {**STRATEGIES, **OTHERS})
def test_batches_of_several_lengths_train(name: str) -> None:
    """With every algorithm; with noise on the smashed data, and outliers filtered."""
    strategy = {**STRATEGIES, **OTHERS}[name](own_length_task(), max_update_ratio=50.0)
    task, start = strategy.task, strategy.initial_arrays().to_torch_state_dict()
    server = {key: p.detach().clone() for key, p in task.model.server.named_parameters()}
    mods = [smashed_noise_mod(clip_norm=100.0, noise_multiplier=1e-3)]
    grid = MemoryGrid(build_client_app(lambda context: own_length_task(), mods=mods), 3)
    failures = dict[int, Any]()

    def end_round(number: int, arrays: Any) -> None:
        if number:
            failures.update(strategy.last_round.failures)

    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=3, evaluate_fn=end_round)
    assert failures == {}
    up = [c.array_records["smashed"] for c in grid.received if "smashed" in c]
    lengths = {array.shape[1] for record in up for array in record.values() if array.shape[1:]}
    assert len(lengths) > 2  # the width, and several lengths
    assert result.arrays is not None
    trained = result.arrays.to_torch_state_dict()
    moved = {key for key, tensor in trained.items() if not torch.equal(tensor, start[key])}
    assert moved == (set() if name == "split_frozen" else set(start))
    ours = dict(task.model.server.named_parameters())
    assert not [key for key in ours if torch.equal(server[key], ours[key])]


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
@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"sign"}))  # which is for gradients
def test_codecs_take_batches_of_several_lengths(codec: str) -> None:
    strategy = FslSage(
        own_length_task(), recipe=AlignmentRecipe(2, 6), compression=Compression(smashed=codec)
    )
    grid = MemoryGrid(build_client_app(lambda context: own_length_task()), 2)
    train(strategy, grid, 2)
    assert strategy.last_round.failures == {}
    sent = [c.array_records["smashed"] for c in grid.received if "smashed" in c]
    assert any("1/0" in record for record in sent)
    assert all(array.stype.startswith("fsl-sage.") for record in sent for array in record.values())


def fixed_texts(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    return texts_of(client, 5, own_length=True)


def without_dropout() -> SplitTask:
    task = replace(own_length_task(), train_batches=fixed_texts)
    for module in (*task.model.client.modules(), *task.model.server.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return task


@pytest.mark.slow
def test_batches_of_several_lengths_in_one_exchange_are_those_of_a_loop() -> None:
    strategy = SplitFedV1(without_dropout(), batches_per_exchange=3)
    grid = MemoryGrid(build_client_app(lambda context: without_dropout()), 1)
    ours = strategy.model_state(train(strategy, grid, 1))
    down = [c.array_records["gradients"] for c in grid.sent if "gradients" in c]
    assert len({tuple(array.shape) for array in down[0].values()}) > 1

    task = without_dropout()
    front, back = task.model.client, task.model.server
    on_client, on_server = task.optimizer_of_client(front), task.optimizer_of_server(back)
    batches = [task.on_device(batch) for batch in fixed_texts(client_of(0), 0)]
    assert len({next(iter(as_tensors(x))).shape for x, _ in batches}) > 1
    sent = [client_forward(front, x, task.autocast) for x, _ in batches]
    parameters, steps = list(front.parameters()), []
    for smashed, (_, labels) in zip(sent, batches, strict=True):
        values = tuple(tensor.detach() for tensor in smashed)
        _, answer = answer_step(back, on_server, values, labels, task.objective, task.autocast)
        floating = [tensor for tensor in smashed if tensor.is_floating_point()]
        steps.append(torch.autograd.grad(floating, parameters, answer))
    for gradients in steps:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        on_client.step()
    for found, half in zip(ours, (front, back), strict=True):
        assert_same(found, half.state_dict())


class Masking(nn.Module):
    """Adds minus infinity where texts are padded, on both sides of the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.scores = nn.Embedding(9, 8), nn.Linear(8, 3)
        self.a, self.b = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if bool((input_ids < 0).any()):
            raise ValueError("no word")
        hidden = self.words(input_ids)
        added = torch.zeros_like(hidden[..., 0]).masked_fill(attention_mask == 0, -torch.inf)
        for layer in (self.a, self.b):
            hidden = hidden + layer(hidden, hidden, hidden, key_padding_mask=added)[0]
        return self.scores(hidden.mean(dim=1))


@pytest.mark.parametrize("training", [False, True])
def test_an_infinite_mask_crosses_as_booleans_if_the_example_has_no_padding(training: bool) -> None:
    ids = torch.randint(9, (2, 5))
    example = {"attention_mask": torch.ones_like(ids), "input_ids": ids}
    halves = split(Masking(), "b", example)
    padded = torch.ones_like(ids)
    padded[1, 3:] = 0
    smashed = as_tensors(halves.client.train(training)(padded, ids))
    assert all(tensor.isfinite().all() for tensor in smashed)
    assert [tensor.dtype for tensor in smashed].count(torch.bool) == 1
    model = Masking()
    model.load_state_dict({**halves.client.state_dict(), **halves.server.state_dict()})
    found = halves.server.train(training)(*smashed)
    assert torch.equal(found, model.train(training)(ids, padded))


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
    with pytest.raises(ValueError, match="inputs named 'input_ids', 'mask'; the model was"):
        task.on_device((wrong, labels))
