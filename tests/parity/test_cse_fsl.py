"""CSE-FSL with q = 1 equals its equations written as a loop, bit for bit."""

import copy

import torch
from torch import Tensor

from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.task import ClientIdentity

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


def test_three_rounds_equal_the_loop_by_hand() -> None:
    strategy = cse_fsl({"dropout": 0.0}, server_update_interval=1)
    arrays = train(strategy, grid(dropout=0.0, batches=small_batches), ROUNDS)

    task = small_task(dropout=0.0)
    x_s, x_c = task.model.server, copy.deepcopy(task.model.client.state_dict())
    x_a = copy.deepcopy(task.new_head("shared").state_dict())
    server_optimizer = task.server_optimizer(x_s.parameters())
    kept: dict[int, tuple[dict[str, object], dict[str, object]]] = {}
    for t in range(ROUNDS):
        halves, heads, examples, uploads = [], [], [], []
        for i in range(CLIENTS):
            half, head = copy.deepcopy(task.model.client), copy.deepcopy(task.head)
            half.load_state_dict(x_c)
            head.load_state_dict(x_a)
            optimizers = (
                task.client_optimizer(half.parameters()),
                task.auxiliary_optimizer(head.parameters()),
            )
            for optimizer, state in zip(optimizers, kept.get(i, ()), strict=False):
                optimizer.load_state_dict(state)
            seed = derive_seed(task.seed, "batches", t, i, 0)
            batches = list(small_batches(ClientIdentity(i, CLIENTS), seed))
            for x, y in batches:
                z = half(x)
                uploads.append((z.detach().clone(), y))
                for optimizer in optimizers:
                    optimizer.zero_grad()
                task.loss(head(z), y).backward()
                for optimizer in optimizers:
                    optimizer.step()
            kept[i] = tuple(copy.deepcopy(o.state_dict()) for o in optimizers)  # type: ignore[assignment]
            halves.append(half.state_dict())
            heads.append(head.state_dict())
            examples.append(sum(len(y) for _, y in batches))
        for z, y in uploads:
            server_optimizer.zero_grad()
            task.loss(x_s(z), y).backward()
            server_optimizer.step()
        x_c, x_a = mean(halves, examples), mean(heads, examples)

    assert_same(arrays, x_c)
    assert_same(strategy.head.weights, x_a)
    assert_same(strategy.state_dict()["server_half"], x_s.state_dict())
