"""CSE-FSL with q = 1 equals its equations written as a loop, bit for bit."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.strategies import CseFsl
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ..language import language_task, small_model
from ..memory_grid import MemoryGrid
from ..runs import assert_same, cse_fsl, grid, train
from ..tasks import CLIENTS, small_batches, small_task

ROUNDS = 3


def mean(states: list[dict[str, Tensor]], weights: list[int]) -> dict[str, Tensor]:
    shares = [weight / sum(weights) for weight in weights]
    result = {}
    for name, like in states[0].items():
        total = sum(s[name].numpy() * share for s, share in zip(states, shares, strict=True))
        value = torch.as_tensor(total)
        result[name] = value if like.is_floating_point() else value.round().to(like.dtype)
    return result


def on_images(**changes: Any) -> tuple[SplitTask, CseFsl, MemoryGrid]:
    strategy = cse_fsl({"dropout": 0.0}, server_update_interval=1, **changes)
    task = small_task(dropout=0.0, train_batches=small_batches)
    return task, strategy, grid(dropout=0.0, batches=small_batches)


def on_tokens(**changes: Any) -> tuple[SplitTask, CseFsl, MemoryGrid]:
    def task() -> SplitTask:
        model = small_model()
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        return language_task(model)

    strategy = CseFsl(task(), server_update_interval=1, **changes)
    return task(), strategy, MemoryGrid(build_client_app(lambda context: task()), CLIENTS)


@pytest.mark.sample
@pytest.mark.parametrize(
    ("of", "mu", "steps"),
    [(on_images, 0.0, 1), (on_images, 3.0, 1), (on_images, 0.0, 3), (on_tokens, 0.0, 1)],
)
def test_three_rounds_equal_the_loop_by_hand(of: Any, mu: float, steps: int) -> None:
    """With FedProx's term on the client half and on the head, and with passes over an upload."""
    task, strategy, nodes = of(proximal_mu=mu, server_steps=steps)
    arrays = train(strategy, nodes, ROUNDS)

    def trained(module: nn.Module) -> list[nn.Parameter]:
        return [p for p in module.parameters() if p.requires_grad]

    x_s, x_c = task.model.server, copy.deepcopy(task.weights_of(task.model.client))
    x_a = copy.deepcopy(task.weights_of(task.new_head("shared")))
    server_optimizer = task.server_optimizer(trained(x_s))
    kept: dict[int, tuple[dict[str, object], dict[str, object]]] = {}
    for t in range(ROUNDS):
        halves, heads, counts = [], [], []
        uploads: list[list[tuple[Tensor, Tensor]]] = []
        for i in range(CLIENTS):
            uploads.append([])
            half, head = copy.deepcopy(task.model.client), copy.deepcopy(task.head)
            task.load_weights(half, x_c)
            task.load_weights(head, x_a)
            optimizers = (
                task.client_optimizer(trained(half)),
                task.auxiliary_optimizer(trained(head)),
            )
            for optimizer, state in zip(optimizers, kept.get(i, ()), strict=False):
                optimizer.load_state_dict(state)
            seed = derive_seed(task.seed, "batches", t, i, 0)
            batches = list(task.train_batches(ClientIdentity(i, CLIENTS), seed))
            for x, y in batches:
                z = half(x)
                uploads[-1].append((z.detach().clone(), y))
                for optimizer in optimizers:
                    optimizer.zero_grad()
                task.loss(head(z), y).backward()
                for module, sent in ((half, x_c), (head, x_a)):
                    for name, p in module.named_parameters():
                        if mu and p.grad is not None:
                            p.grad += mu * (p.detach() - sent[name])
                for optimizer in optimizers:
                    optimizer.step()
            kept[i] = tuple(copy.deepcopy(o.state_dict()) for o in optimizers)  # type: ignore[assignment]
            halves.append(task.weights_of(half))
            heads.append(task.weights_of(head))
            counts.append(sum(task.objective.count(y) for _, y in batches))
        for upload in uploads:
            for z, y in upload * steps:
                server_optimizer.zero_grad()
                task.loss(x_s(z), y).backward()
                server_optimizer.step()
        x_c, x_a = mean(halves, counts), mean(heads, counts)

    assert_same(arrays, x_c)
    assert_same(strategy.head.weights, x_a)
    assert_same(strategy.state_dict()["server"]["half"], task.weights_of(x_s))
