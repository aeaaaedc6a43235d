"""With a tail on the clients SplitFed equals training without a split, and SplitFed without one."""

import random
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import Message

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.client_apps.split_fed import live_forwards
from fsl_sage_flwr.nodes.client_state import ClientState
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import split
from fsl_sage_flwr.strategies import SplitFedV1, SplitFedV2
from fsl_sage_flwr.task import ClientIdentity

from ..language import language_task, small_model
from ..memory_grid import MemoryGrid
from ..runs import assert_same, train
from ..tails import DEEP, LINEAR, tail_grid, tail_task
from ..tasks import CLIENTS, small_app, small_batches, small_net, small_task

ADAM = partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-3)
SGD = partial(torch.optim.SGD, lr=1e-2, momentum=0.9)
TWO = 2  # the second round uses the state kept from the first
V1_AND_V2 = pytest.mark.parametrize("kind", [SplitFedV1, SplitFedV2], ids=["V1", "V2"])
CUTS = pytest.mark.parametrize("cuts", [LINEAR, DEEP], ids=["linear", "deep"])


def changes(optimizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "client_optimizer": optimizer,
        "server_optimizer": optimizer,
        "train_batches": small_batches,
        **more,
    }


def whole_of(strategy: Any, arrays: Any) -> dict[str, torch.Tensor]:
    return strategy.task.model.joined(*strategy.model_state(arrays))


def plain_sgd(setting: dict[str, Any], rounds: int) -> dict[str, torch.Tensor]:
    """Train the uncut model in a plain loop."""
    net, _ = small_net(0.0)
    task = small_task(**setting)
    optimizer = setting["client_optimizer"](net.parameters())
    for t in range(rounds):
        for epoch in range(task.local_epochs):
            seed = derive_seed(task.seed, "batches", t, 0, epoch)
            for x, y in small_batches(ClientIdentity(0, 1), seed):
                optimizer.zero_grad()
                task.loss(net(x), y).backward()
                optimizer.step()
    return net.state_dict()


@V1_AND_V2
@CUTS
@pytest.mark.sample
def test_one_client_equals_plain_sgd_on_the_uncut_model(kind: Any, cuts: Any) -> None:
    setting = changes(ADAM if cuts == LINEAR else SGD, dropout=0.0, local_epochs=2)
    strategy = kind(tail_task(cuts, **setting))
    arrays = train(strategy, tail_grid(1, cuts, setting), TWO)
    assert_same(whole_of(strategy, arrays), plain_sgd(setting, TWO))


@pytest.mark.slow
def test_v1_with_several_clients_equals_v1_that_is_sent_the_labels() -> None:
    setting = changes(ADAM)
    ours, theirs = SplitFedV1(tail_task(**setting)), SplitFedV1(small_task(**setting))
    arrays = train(ours, tail_grid(task_changes=setting), TWO)
    sent = train(theirs, MemoryGrid(small_app(**setting), CLIENTS), TWO)
    assert_same(whole_of(ours, arrays), whole_of(theirs, sent))
    assert ours.last_round.train_loss == pytest.approx(theirs.last_round.train_loss, rel=1e-5)


def test_v2_with_several_clients_equals_the_loop_written_by_hand() -> None:
    """One server half in turn; each client has its own tail in a round, averaged at its end."""
    setting = changes(SGD, dropout=0.0)
    strategy = SplitFedV2(tail_task(**setting), server_order="client", keep_optimizer_state=False)
    arrays = train(strategy, tail_grid(task_changes=setting), 1)
    task = tail_task(**setting)
    server = task.model.server
    server_optimizer = task.optimizer_of_server(server)
    start = {k: t.clone() for k, t in task.model.client.state_dict().items()}
    draw = random.Random(derive_seed(task.seed, "order", 0, "whole clients"))
    trained, counts = dict[int, Any](), dict[int, int]()
    for client in draw.sample(range(CLIENTS), CLIENTS):
        task.model.client.load_state_dict(start)
        optimizer = task.optimizer_of_client(task.model.client)
        seed = derive_seed(task.seed, "batches", 0, client, 0)
        counts[client] = 0
        for x, y in small_batches(ClientIdentity(client, CLIENTS), seed):
            optimizer.zero_grad()
            server_optimizer.zero_grad()
            task.loss(task.model(x), y).backward()
            server_optimizer.step()
            optimizer.step()
            counts[client] += len(y)
        trained[client] = {k: t.clone() for k, t in task.model.client.state_dict().items()}
    client_half, server_half = strategy.model_state(arrays)
    assert_same(server_half, server.state_dict())
    total = sum(counts.values())
    for name, value in client_half.items():
        if value.is_floating_point():
            mean = sum(trained[c][name].double() * counts[c] for c in counts) / total
            assert torch.allclose(value.double(), mean, rtol=1e-5, atol=1e-7), name


@pytest.mark.slow
@V1_AND_V2
@CUTS
def test_replay_equals_the_live_graph(kind: Any, cuts: Any) -> None:
    """A change of process between any two messages changes no bit, on either side."""

    def change_process(partition: int, reply: Message) -> Message:
        live_forwards.clear()
        return reply

    setting = changes(ADAM)
    live, replayed = (kind(tail_task(cuts, **setting)) for _ in range(2))
    alive = tail_grid(cuts=cuts, task_changes=setting)
    ours = train(live, alive, TWO)
    changing = tail_grid(cuts=cuts, task_changes=setting, tamper=change_process)
    assert_same(ours, train(replayed, changing, TWO))
    assert_same(live.state_dict(), replayed.state_dict())
    for node, context in alive.contexts.items():
        kept = (ClientState(of).load("optimizer") for of in (context, changing.contexts[node]))
        assert_same(*kept)


def language(**more: Any) -> Any:
    return language_task(small_model(), client_optimizer=SGD, server_optimizer=SGD, **more)


@pytest.mark.slow
@V1_AND_V2
@pytest.mark.parametrize("tail", ["", "norm"])
def test_a_language_models_completions_stay(kind: Any, tail: str) -> None:
    ours, theirs = kind(language(tail=tail)), kind(language())
    grids = [
        MemoryGrid(build_client_app(lambda context, m=more: language(**m)), 1)
        for more in ({"tail": tail}, {})
    ]
    arrays, sent = train(ours, grids[0], TWO), train(theirs, grids[1], TWO)
    assert_same(whole_of(ours, arrays), whole_of(theirs, sent))
    assert not any("labels" in content for content in grids[0].received)
    assert any("labels" in content for content in grids[1].received)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_weights_of_other_dtypes_have_the_bits_of_two_halves(dtype: torch.dtype) -> None:
    """Hidden states of 16 bits are sent as float32."""

    def batches(client: ClientIdentity, seed: int) -> Any:
        return [(x.to(dtype), y) for x, y in small_batches(client, seed)]

    def task(tail: str) -> Any:
        net, example = small_net(0.0)
        model = split(net.to(dtype), "block", example.to(dtype), tail=tail)
        changed = {"model": model, "example": example.to(dtype), "train_batches": batches}
        return small_task(**{**changes(SGD), **changed})

    found = []
    for tail in ("last.2", ""):
        strategy = SplitFedV1(task(tail))
        app = build_client_app(lambda context, tail=tail: task(tail))
        found.append(whole_of(strategy, train(strategy, MemoryGrid(app, 2), 1)))
    assert_same(*found)
