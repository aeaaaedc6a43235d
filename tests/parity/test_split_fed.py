"""SplitFed equals training without a split, bit for bit."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from flwr.app import Message
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from fsl_sage_flwr.client_apps.split_fed import live_forwards
from fsl_sage_flwr.data import ClientData
from fsl_sage_flwr.nodes.client_state import ClientState
from fsl_sage_flwr.schedules import parse_schedule
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import answer_step, client_forward, client_step, estimated_step
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ..memory_grid import MemoryGrid
from ..rows import rows
from ..runs import assert_same, fed_avg, split_fed_v1, split_fed_v2, train
from ..tasks import CLIENTS, small_batches, small_task

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-3),
    "sgd": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
}
ROUNDS = 3
TWO = 2  # the second round uses the state kept from the first
V1_AND_V2 = pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2], ids=["V1", "V2"])


def augmented_batches(client: ClientIdentity, seed: int) -> Any:
    generator = torch.Generator().manual_seed(client.partition_id)
    images = torch.randint(256, (27, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = torch.randint(3, (27,), generator=generator)
    return ClientData(images, labels).epoch(5, seed, augmented=True)


def changes(optimizer: str, batches: Any = small_batches, epochs: int = 1) -> dict[str, Any]:
    make = OPTIMIZERS[optimizer]
    return {
        "client_optimizer": make,
        "server_optimizer": make,
        "train_batches": batches,
        "local_epochs": epochs,
    }


def unscheduled(optimizer: Optimizer) -> LRScheduler:
    return MultiStepLR(optimizer, [])


def nodes_for(task_changes: dict[str, Any], clients: int, **options: Any) -> MemoryGrid:
    from fsl_sage_flwr.client_apps import build_client_app

    app = build_client_app(lambda context: small_task(**task_changes))
    return MemoryGrid(app, clients, **options)


def plain_loop(
    task: SplitTask,
    rounds: int,
    schedule: Callable[[Optimizer], LRScheduler] = unscheduled,
    steps: int = 1,
) -> dict[str, Tensor]:
    """Train the whole model in a plain loop; dropout draws what the halves draw.

    The server half takes ``steps - 1`` steps on each batch before the one of the whole model.
    """
    client, server = task.model.client, task.model.server
    optimizers = [
        task.client_optimizer(client.parameters()),
        task.server_optimizer(server.parameters()),
    ]
    schedulers = [schedule(optimizer) for optimizer in optimizers]
    for t in range(rounds):
        k = 0
        for epoch in range(task.local_epochs):
            seed = derive_seed(task.seed, "batches", t, 0, epoch)
            for x, y in task.train_batches(ClientIdentity(0, 1), seed):
                torch.manual_seed(derive_seed(task.seed, "client", t, 0, k))
                z = client(x)
                torch.manual_seed(derive_seed(task.seed, "server", t, 0, k))
                for _ in range(steps - 1):
                    optimizers[1].zero_grad()
                    task.loss(server(z.detach()), y).backward()
                    optimizers[1].step()
                for optimizer in optimizers:
                    optimizer.zero_grad()
                task.loss(server(z), y).backward()
                for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                    optimizer.step()
                    scheduler.step()
                k += 1
    return task.model.merged_state_dict()


@pytest.mark.sample
@V1_AND_V2
@rows(
    ("optimizer", "batches"),
    product(OPTIMIZERS, [small_batches, augmented_batches]),
    lambda row: row in (("sgd", augmented_batches), ("adam", small_batches)),
)
def test_one_client_equals_the_plain_loop(make: Any, optimizer: str, batches: Any) -> None:
    setting = changes(optimizer, batches, epochs=2)
    strategy = make(setting)
    arrays = train(strategy, nodes_for(setting, 1), TWO)
    client, server = strategy.model_state(arrays)
    whole = plain_loop(small_task(**setting), TWO)
    assert_same({**client, **server}, whole)


@pytest.mark.slow
@V1_AND_V2
def test_several_server_steps_equal_the_loop_with_them(make: Any) -> None:
    setting = changes("adam")
    strategy = make(setting, server_steps=3)
    arrays = train(strategy, nodes_for(setting, 1), TWO)
    client, server = strategy.model_state(arrays)
    assert_same({**client, **server}, plain_loop(small_task(**setting), TWO, steps=3))


@pytest.mark.sample
@V1_AND_V2
@pytest.mark.parametrize("width", [1, 2])
def test_a_schedule_by_batch_is_torchs_own(make: Any, width: int) -> None:
    """Four batches a round: the rate is halved after the 2nd, and after the 7th."""
    halving = parse_schedule("multi_step at=0.5,1.75 gamma=0.5 by=batch", ROUNDS)
    setting = {
        **changes("sgd", epochs=2),
        "client_schedule": halving,
        "server_schedule": halving,
        "train_batches": lambda client, seed: list(small_batches(client, seed)),
    }

    def torchs(optimizer: Optimizer) -> LRScheduler:
        return MultiStepLR(optimizer, [2, 7], 0.5)

    def rates(optimizer: Optimizer) -> list[float]:
        return [group["lr"] for group in optimizer.param_groups]

    strategy = make(setting, batches_per_exchange=width)
    last, answer = list[list[float]](), strategy.server.step_and_get_gradients

    def watched(*given: Any, **more: Any) -> Any:
        found = answer(*given, **more)
        last.append(rates(strategy.server.model_for(0)[1]))
        return found

    strategy.server.step_and_get_gradients = watched
    arrays = train(strategy, nodes_for({**setting, "local_epochs": 2}, 1), ROUNDS)
    assert last[-1] == [1e-2 / 4]
    if width == 1:
        client, server = strategy.model_state(arrays)
        assert_same({**client, **server}, plain_loop(small_task(**setting), ROUNDS, torchs))


@pytest.mark.slow
@rows(
    ("optimizer", "schedule"),
    product(OPTIMIZERS, ["constant", "cosine by=batch warmup=1"]),
    lambda row: row in (("sgd", "constant"), ("adam", "cosine by=batch warmup=1")),
)
def test_v1_with_several_clients_equals_fed_avg(optimizer: str, schedule: str) -> None:
    setting = changes(optimizer, lambda client, seed: list(small_batches(client, seed)))
    setting["client_schedule"] = setting["server_schedule"] = parse_schedule(schedule, TWO)
    split, whole = split_fed_v1(setting), fed_avg(setting)
    client, server = split.model_state(train(split, nodes_for(setting, CLIENTS), TWO))
    arrays = train(whole, nodes_for(setting, CLIENTS), TWO)
    assert_same({**client, **server}, arrays)


@pytest.mark.slow
@V1_AND_V2
@pytest.mark.parametrize("width", [1, 2])
def test_replay_equals_the_live_graph(make: Any, width: int) -> None:
    """A change of process between any two messages changes no bit, on either side."""

    def change_process(partition: int, reply: Message) -> Message:
        live_forwards.clear()
        return reply

    setting = changes("adam")
    live, replayed = (make(setting, batches_per_exchange=width) for _ in range(2))
    alive, changing = (
        nodes_for(setting, CLIENTS),
        nodes_for(setting, CLIENTS, tamper=change_process),
    )
    ours, theirs = train(live, alive, TWO), train(replayed, changing, TWO)
    assert_same(ours, theirs)
    assert_same(live.state_dict(), replayed.state_dict())
    for node, context in alive.contexts.items():
        ours_kept, theirs_kept = (
            ClientState(found).load("optimizer") for found in (context, changing.contexts[node])
        )
        assert_same(ours_kept, theirs_kept)


@pytest.mark.slow
@V1_AND_V2
def test_several_batches_per_exchange_make_fewer_messages_and_other_bits(make: Any) -> None:
    setting = changes("adam")
    one, two = make(setting), make(setting, batches_per_exchange=2)
    few, many = nodes_for(setting, CLIENTS), nodes_for(setting, CLIENTS)
    ours, theirs = train(one, many, 1), train(two, few, 1)
    exchanges = [len([t for t, _ in g.types if "exchange" in t]) for g in (many, few)]
    assert exchanges == [5 + 5 + 2, 3 + 3 + 1]
    with pytest.raises(AssertionError):
        assert_same(ours, theirs)
    smashed = [
        sum(c.array_records["smashed"]["0"].shape[0] for c in g.received if "smashed" in c)
        for g in (many, few)
    ]
    assert smashed[0] == smashed[1]


@pytest.mark.slow
def test_v2_whole_clients_one_after_the_other() -> None:
    setting = changes("sgd")
    nodes = nodes_for(setting, CLIENTS)
    train(split_fed_v2(setting, server_order="client"), nodes, 1)
    order = [client for kind, client in nodes.types if "exchange" in kind]
    runs = [client for k, client in enumerate(order) if k == 0 or order[k - 1] != client]
    assert sorted(runs) == list(range(CLIENTS))


def test_a_frozen_server_half_and_its_copy_as_head_make_the_steps_of_fsl_sage() -> None:
    """The estimate of a perfect head is SplitFed's gradient. 8 samples: halving is exact."""
    import copy

    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, 1, 6, 6, generator=generator), torch.randint(3, (8,), generator=generator))
        for _ in range(4)
    ]
    sage, fed = small_task(dropout=0.0), small_task(dropout=0.0)
    head = copy.deepcopy(sage.model.server)
    frozen = torch.optim.SGD(fed.model.server.parameters(), lr=0.0)
    ours = sage.client_optimizer(sage.model.client.parameters())
    theirs = fed.client_optimizer(fed.model.client.parameters())
    for inputs, labels in batches:
        estimated_step(
            sage.model.client, head, ours, (inputs, labels), sage.objective, sage.autocast
        )
        smashed = client_forward(fed.model.client, inputs, fed.autocast)
        _, gradients = answer_step(
            fed.model.server, frozen, tuple(t.detach() for t in smashed), labels, fed.objective,
            fed.autocast,
        )  # fmt: skip
        client_step(theirs, smashed, gradients, 1)
    assert_same(sage.model.client.state_dict(), fed.model.client.state_dict())
    assert_same(ours.state_dict()["state"], theirs.state_dict()["state"])
