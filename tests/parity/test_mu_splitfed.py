"""MU-SplitFed equals its equations written as a loop, bit for bit."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import mu_splitfed as client
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.task import ClientIdentity

from ..memory_grid import MemoryGrid
from ..runs import assert_same, mu_splitfed, train
from ..tasks import CLIENTS, small_app, small_batches, small_task
from .test_cse_fsl import mean

ROUNDS, LENGTH = 2, 1e-2


def direction(like: nn.Module, *place: int | str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(3, "perturbation", *place))
    return [torch.randn(p.shape, generator=generator) for p in like.parameters()]


def moved(module: nn.Module, along: list[Tensor], step: float) -> nn.Module:
    """Return a copy with its parameters moved."""
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, u in zip(other.parameters(), along, strict=True):
            parameter.copy_(parameter + step * u)
    return other


def take_buffers(module: nn.Module, other: nn.Module) -> None:
    for buffer, after in zip(module.buffers(), other.buffers(), strict=True):
        buffer.copy_(after)


def stepped(
    module: nn.Module, optimizer: torch.optim.Optimizer, slope: float | Tensor, u: list[Tensor]
) -> None:
    for parameter, part in zip(module.parameters(), u, strict=True):
        parameter.grad = slope * part
    optimizer.step()


@pytest.mark.parametrize(("tau", "mu"), [(1, 0.0), (3, 0.0), (1, 3.0)])
@pytest.mark.sample
def test_two_rounds_equal_the_loop_by_hand(tau: int, mu: float) -> None:
    """With FedProx's term on the client half too."""
    strategy = mu_splitfed(
        {"dropout": 0.0}, server_steps=tau, perturbation_scale=LENGTH, proximal_mu=mu
    )
    arrays = train(strategy, MemoryGrid(small_app(dropout=0.0), CLIENTS), ROUNDS)

    task = small_task(dropout=0.0)
    x_c = copy.deepcopy(task.model.client.state_dict())
    x_s = copy.deepcopy(task.model.server.state_dict())
    kept: dict[int, list[dict[str, object]]] = {}
    for t in range(ROUNDS):
        halves, servers, examples = [], [], []
        for i in range(CLIENTS):
            half, server = copy.deepcopy(task.model.client), copy.deepcopy(task.model.server)
            half.load_state_dict(x_c)
            server.load_state_dict(x_s)
            optimizers = [
                task.client_optimizer(list(half.parameters())),
                task.server_optimizer(list(server.parameters())),
            ]
            for optimizer, state in zip(optimizers, kept.get(i, []), strict=False):
                optimizer.load_state_dict(state)
            seed = derive_seed(task.seed, "batches", t, i, 0)
            batches = list(task.train_batches(ClientIdentity(i, CLIENTS), seed))
            for k, (x, y) in enumerate(batches):
                u = direction(half, t, i, k)
                with torch.no_grad():
                    plus, minus = (moved(half, u, step)(x) for step in (LENGTH, -LENGTH))
                    h = half(x)  # moves the running statistics
                    for n in range(tau):
                        v = direction(server, "server", t, i, k, n, 0)
                        front, back = (moved(server, v, s) for s in (LENGTH, -LENGTH))
                        losses = [task.loss(one(h), y).item() for one in (front, back)]
                        slope = (losses[0] - losses[1]) / (2 * LENGTH)
                        take_buffers(server, front)
                        stepped(server, optimizers[1], slope, v)
                    ends = [task.loss(copy.deepcopy(server)(z), y).item() for z in (plus, minus)]
                answer = torch.tensor((ends[0] - ends[1]) / (2 * LENGTH))
                for (name, parameter), part in zip(half.named_parameters(), u, strict=True):
                    parameter.grad = answer * part
                    if mu:
                        parameter.grad += mu * (parameter.detach() - x_c[name])
                optimizers[0].step()
            kept[i] = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
            halves.append(half.state_dict())
            servers.append(server.state_dict())
            examples.append(sum(len(y) for _, y in batches))
        x_c, x_s = mean(halves, examples), mean(servers, examples)

    assert_same(arrays, x_c)
    assert_same(strategy.state_dict()["server"]["half"], x_s)


def test_the_slope_is_that_of_the_loss_along_the_direction() -> None:
    """As far as a short distance shows it: the client's step follows the true gradient along u."""
    nodes = MemoryGrid(small_app(dropout=0.0, train_batches=_one), 1)
    strategy = mu_splitfed(
        {"dropout": 0.0, "server_optimizer": _at_rest}, server_steps=1, perturbation_scale=1e-2
    )
    train(strategy, nodes, 1)
    (answer,) = [c for c in nodes.sent if "gradients" in c]
    (slope,) = client.PerturbedRequest.unpack(answer).gradients
    task = small_task(dropout=0.0)
    ((x, y),) = _one(ClientIdentity(0, 1), derive_seed(task.seed, "batches", 0, 0, 0))
    task.loss(task.model.server(task.model.client(x)), y).backward()
    u = direction(task.model.client, 0, 0, 0)
    gradients = [p.grad for p in task.model.client.parameters()]
    true = sum((g * v).sum() for g, v in zip(gradients, u, strict=True) if g is not None)
    torch.testing.assert_close(slope.sum(), true, rtol=0.05, atol=1e-3)


def test_no_graph_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a backward pass")

    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(Tensor, "backward", refuse)
    strategy = mu_splitfed()
    train(strategy, MemoryGrid(small_app(), CLIENTS), 1)
    assert strategy.last_round.failures == {}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"perturbation_scale": 0.0}, "perturbation_scale = 0.0: it must be above 0"),
        ({"server_steps": 0}, "server_steps = 0: it must be at least 1"),
    ],
)
def test_what_cannot_be_estimated_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mu_splitfed(**wrong)


def _one(client: ClientIdentity, seed: int) -> list[tuple[Tensor, Tensor]]:
    return list(small_batches(client, seed))[:1]


def _at_rest(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.0)
