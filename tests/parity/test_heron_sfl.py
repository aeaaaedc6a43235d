"""HERON-SFL equals its equations written as a loop, bit for bit; it keeps no activations."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import heron_sfl as client
from fsl_sage_flwr.messages import TrainRequest
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.strategies.heron_sfl import HeronSfl
from fsl_sage_flwr.task import ClientIdentity
from fsl_sage_flwr.zeroth_order import directions, estimate

from ..memory_grid import MemoryGrid
from ..runs import assert_same, heron_sfl, train
from ..tasks import CLIENTS, small_app, small_batches, small_task
from .test_cse_fsl import mean

ROUNDS, Q, MU, P = 3, 2, 1e-2, 2


def moved(module: nn.Module, steps: list[Tensor]) -> nn.Module:
    """Return a copy with its parameters moved."""
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, step in zip(other.parameters(), steps, strict=True):
            parameter.add_(step)
    return other


@pytest.mark.parametrize("proximal_mu", [0.0, 3.0])
@pytest.mark.sample
def test_three_rounds_equal_the_loop_by_hand(proximal_mu: float) -> None:
    """The gradient of FedProx's term is exact beside the estimate of the loss's."""
    strategy = heron_sfl(
        {"dropout": 0.0}, server_update_interval=Q, perturbation_scale=MU, perturbations=P,
        proximal_mu=proximal_mu,
    )  # fmt: skip
    arrays = train(strategy, MemoryGrid(small_app(dropout=0.0), CLIENTS), ROUNDS)

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
            batches = list(task.train_batches(ClientIdentity(i, CLIENTS), seed))
            for k, (x, y) in enumerate(batches):
                if k % Q == 0:
                    with torch.no_grad():
                        uploads.append((copy.deepcopy(half)(x), y))
                both = [*half.parameters(), *head.parameters()]
                estimate = [torch.zeros_like(p) for p in both]
                for p in range(P):
                    generator = torch.Generator().manual_seed(
                        derive_seed(task.seed, "perturbation", t, i, k, p)
                    )
                    u = [torch.randn(v.shape, generator=generator) for v in both]
                    losses = []
                    count = len(list(half.parameters()))
                    for sign in (1, -1):
                        steps = [sign * MU * direction for direction in u]
                        front, back = moved(half, steps[:count]), moved(head, steps[count:])
                        with torch.no_grad():
                            losses.append(task.loss(back(front(x)), y).item())
                        if p == 0 and sign == 1:
                            statistics = front, back
                    slope = (losses[0] - losses[1]) / (2 * MU) / P
                    estimate = [g + slope * d for g, d in zip(estimate, u, strict=True)]
                for module, after in zip((half, head), statistics, strict=True):
                    for buffer, new in zip(module.buffers(), after.buffers(), strict=True):
                        buffer.copy_(new)
                sent = [values[n] for part, values in ((half, x_c), (head, x_a))
                        for n, _ in part.named_parameters()]  # fmt: skip
                for parameter, gradient, old in zip(both, estimate, sent, strict=True):
                    parameter.grad = gradient
                    if proximal_mu:
                        parameter.grad = gradient + proximal_mu * (parameter.detach() - old)
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
    assert_same(strategy.state_dict()["server"]["half"], x_s.state_dict())


def test_the_estimate_is_the_gradient_along_the_direction() -> None:
    """With one direction u it is (∇f · u) u, as far as a small step shows it."""
    task = small_task(dropout=0.0)
    local = client.LocalModel(task.model.client, task.head).double()
    x, y = next(iter(small_batches(ClientIdentity(0, CLIENTS), 4)))
    batch, reference = (x.double(), y), copy.deepcopy(local)
    task.loss(reference(batch[0]), y).backward()
    request = client.HeronRequest(
        round=0, server_update_interval=1, keep_optimizer_state=True, trained_before=False,
        auxiliary_version=0, perturbation_scale=1e-5, perturbations=1,
    )  # fmt: skip
    before = [p.detach().clone() for p in local.parameters()]
    estimate(local, batch, task, request, (0, 0, 0))
    trained = dict(local.named_parameters())
    seed = derive_seed(task.seed, "perturbation", 0, 0, 0, 0)
    along = list(directions(trained, seed))
    true = [p.grad for p in reference.parameters()]
    slope = sum((g * u).sum() for g, u in zip(true, along, strict=True) if g is not None)
    for parameter, u in zip(local.parameters(), along, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, slope * u, rtol=1e-4, atol=1e-7)
    for parameter, old in zip(local.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_no_graph_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept for a backward pass, and none is done."""
    saved: list[int] = []
    watched: list[object] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    def train_watched(*arguments: object) -> object:
        watched.append(arguments)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            return client.train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setitem(client.HANDLERS, client.TRAIN, train_watched)
    nodes = MemoryGrid(small_app(), 1)
    train(heron_sfl(), nodes, 1)
    assert len(watched) == 1
    assert saved == []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        small_task().loss(small_task().head(torch.ones(2, 4, 6, 6)), torch.zeros(2).long())
    assert saved  # what a graph would have kept is seen


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"perturbation_scale": 0.0}, "perturbation_scale = 0.0: it must be above 0"),
        ({"perturbation_scale": float("inf")}, "it must be above 0 and finite"),
        ({"perturbations": 0}, "perturbations = 0: it must be at least 1"),
        ({"server_update_interval": 0}, "server_update_interval = 0: it must be at least 1"),
    ],
)
def test_what_cannot_be_estimated_is_refused(wrong: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HeronSfl(small_task(), **wrong)  # type: ignore[arg-type]


def test_what_a_failed_batch_left_behind_is_not_in_the_next_estimate() -> None:
    task = small_task(dropout=0.0)
    local = client.LocalModel(task.model.client, task.head)
    batch = next(iter(small_batches(ClientIdentity(0, CLIENTS), 4)))
    request = client.HeronRequest(
        round=0, server_update_interval=1, keep_optimizer_state=True, trained_before=False,
        auxiliary_version=0, perturbation_scale=1e-2, perturbations=2,
    )  # fmt: skip
    for _ in range(2):  # the second begins with the first's gradients
        estimate(local.eval(), batch, task, request, (0, 0, 0))
        found = [p.grad.clone() for p in local.parameters() if p.grad is not None]
    fresh = copy.deepcopy(local)
    fresh.zero_grad()
    estimate(fresh, batch, task, request, (0, 0, 0))
    expected = [p.grad for p in fresh.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_the_request_says_how_to_estimate() -> None:
    nodes = MemoryGrid(small_app(), CLIENTS)
    train(heron_sfl(perturbation_scale=0.5, perturbations=3), nodes, 1)
    requests = [r for r in nodes.sent if "perturbations" in r.config_records.get("config", {})]
    found = [client.HeronRequest.unpack(content) for content in requests]
    assert {(r.perturbation_scale, r.perturbations) for r in found} == {(0.5, 3)}
    assert issubclass(client.HeronRequest, TrainRequest)
