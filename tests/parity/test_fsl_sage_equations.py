"""FSL-SAGE over messages equals the paper's loop written by hand, bit for bit."""

import copy
import math

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import flatten_state, true_gradients
from fsl_sage_flwr.task import ClientIdentity, SplitTask
from fsl_sage_flwr.tensor_store import with_prefix

from ..runs import RECIPE, assert_same, fsl_sage, grid, train
from ..tasks import CLIENTS, numbered_batches, small_batches, small_task

ROUNDS, Q, L, SIZE = 5, 2, 2, 20


class ByHand:
    """One process, no messages: clients, server, heads and their optimizers side by side."""

    def __init__(self, task: SplitTask) -> None:
        self.task = task
        self.x_c = task.model.client.state_dict()
        self.x_s = task.model.server
        self.server_optimizer = task.server_optimizer(self.x_s.parameters())
        self.heads: dict[int, torch.nn.Module] = {}
        self.head_optimizers: dict[int, torch.optim.Optimizer] = {}
        self.client_states: dict[int, dict[str, object]] = {}
        self.samples: dict[int, tuple[Tensor, Tensor]] = {}

    def batches(self, t: int, i: int) -> list[tuple[Tensor, Tensor]]:
        seed = derive_seed(self.task.seed, "batches", t, i, 0)
        return list(numbered_batches(ClientIdentity(i, CLIENTS), seed))

    def server_step(self, z: Tensor, y: Tensor) -> None:
        self.server_optimizer.zero_grad()
        self.task.loss(self.x_s(z), y).backward()
        self.server_optimizer.step()

    def keep(self, i: int, z: Tensor, y: Tensor) -> None:
        old_z, old_y = self.samples.get(i, (z[:0], y[:0]))
        z, y = torch.cat([old_z, z]), torch.cat([old_y, y])
        # In these batches the label 2 is that of the samples that are held out.
        fit = [k for k in range(len(y)) if y[k] != 2][-SIZE:]
        held_out = [k for k in range(len(y)) if y[k] == 2][-SIZE // 10 :]
        self.samples[i] = z[sorted(fit + held_out)], y[sorted(fit + held_out)]

    def probe(self, t: int) -> None:
        first = {}
        for i in range(CLIENTS):
            half = copy.deepcopy(self.task.model.client)
            half.load_state_dict(self.x_c)
            x, y = self.batches(t, i)[0]
            first[i] = half(x).detach(), y
        for i, (z, y) in first.items():
            self.server_step(z, y)
            self.keep(i, z, y)
        for i in range(CLIENTS):
            head = self.task.new_head(i)
            head.copy_from(self.x_s)  # type: ignore[operator]
            self.heads[i] = head
            self.head_optimizers[i] = self.task.auxiliary_optimizer(head.parameters())

    def align(self, t: int, i: int) -> None:
        z, y = self.samples[i]
        seed = derive_seed(self.task.seed, "align", t, i)
        generator = torch.Generator().manual_seed(seed)
        (g,) = true_gradients(copy.deepcopy(self.x_s), (z,), y, self.task.objective, 256)
        z, y, g = z[y != 2], y[y != 2], g[y != 2]
        head, optimizer = self.heads[i], self.head_optimizers[i]
        steps = RECIPE.epochs * len(list(chunks(len(y), RECIPE.batch_size)))
        step = 0
        for _ in range(RECIPE.epochs):
            order = torch.randperm(len(y), generator=generator)
            for rows in chunks(len(y), RECIPE.batch_size):
                chosen = order[rows]
                factor = 0.5 * (1 + math.cos(math.pi * step / steps))
                optimizer.param_groups[0]["lr"] = 1e-2 * factor
                leaf = z[chosen].clone().requires_grad_()
                loss = self.task.loss(head(leaf), y[chosen]) * len(chosen)
                (estimate,) = torch.autograd.grad(loss, leaf, create_graph=True)
                optimizer.zero_grad()
                (estimate - g[chosen]).pow(2).sum().backward()
                optimizer.step()
                step += 1
        optimizer.param_groups[0]["lr"] = 1e-2

    def train_client(self, t: int, i: int) -> tuple[dict[str, Tensor], int, list[object]]:
        half = copy.deepcopy(self.task.model.client)
        half.load_state_dict(self.x_c)
        optimizer = self.task.client_optimizer(half.parameters())
        if i in self.client_states:
            optimizer.load_state_dict(self.client_states[i])
        head = copy.deepcopy(self.heads[i])
        uploads, examples = [], 0
        for k, (x, y) in enumerate(self.batches(t, i)):
            z = half(x)
            leaf = z.detach().requires_grad_()
            (estimate,) = torch.autograd.grad(self.task.loss(head(leaf), y) * len(y), leaf)
            optimizer.zero_grad()
            z.backward(estimate / len(y))
            optimizer.step()
            examples += len(y)
            if k % Q == 0 and not (t == 0 and k == 0):
                uploads.append((z.detach(), y))
        self.client_states[i] = copy.deepcopy(optimizer.state_dict())
        return half.state_dict(), examples, uploads

    def round(self, t: int) -> None:
        if t == 0:
            self.probe(t)
        if t % L == 0:
            for i in range(CLIENTS):
                self.align(t, i)
        results = [self.train_client(t, i) for i in range(CLIENTS)]
        for _, _, uploads in results:
            for z, y in uploads:
                self.server_step(z, y)
        for i, (_, _, uploads) in enumerate(results):
            for z, y in uploads:
                self.keep(i, z, y)
        weights = [n / sum(n for _, n, _ in results) for _, n, _ in results]
        average = {}
        for name, tensor in self.x_c.items():
            total = sum(
                half[name].numpy() * weight
                for (half, _, _), weight in zip(results, weights, strict=True)
            )
            value = torch.as_tensor(total)
            average[name] = (
                value.round().to(tensor.dtype) if not tensor.is_floating_point() else value
            )
        self.x_c = average


def chunks(count: int, size: int) -> list[slice]:
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


def test_five_rounds_equal_the_loop_by_hand() -> None:
    # No dropout: server and clients share one generator here, and in a real run they do not.
    strategy = fsl_sage({"dropout": 0.0}, align_dataset_size=SIZE)
    arrays = train(strategy, grid(dropout=0.0, batches=numbered_batches), ROUNDS)

    by_hand = ByHand(small_task(dropout=0.0))
    for t in range(ROUNDS):
        by_hand.round(t)

    assert_same(arrays, by_hand.x_c)
    state = strategy.state_dict()
    assert_same(state["server"]["half"], by_hand.x_s.state_dict())
    for i in range(CLIENTS):
        saved = state["heads"]["heads"][i]["file"]
        assert_same(with_prefix(saved, "head."), by_hand.heads[i].state_dict())
        ours = with_prefix(saved, "optimizer.")
        assert_same(ours, flatten_state(by_hand.head_optimizers[i]))
        assert_same(state["heads"]["samples"][i]["0"], by_hand.samples[i][0])
        assert_same(state["heads"]["samples"][i]["labels"], by_hand.samples[i][1])


@pytest.mark.slow
def test_the_small_task_trains_what_it_should() -> None:
    """A guard of the test above: nothing in it may stand still."""
    strategy = fsl_sage({"dropout": 0.0}, align_dataset_size=SIZE)
    before = copy.deepcopy(strategy.state_dict()["server"]["half"])
    start = strategy.initial_arrays()
    arrays = train(strategy, grid(dropout=0.0, batches=small_batches), 1)
    for name, tensor in start.to_torch_state_dict().items():
        assert not torch.equal(tensor, arrays.to_torch_state_dict()[name]), name
    for name, tensor in before.items():
        assert not torch.equal(tensor, strategy.state_dict()["server"]["half"][name]), name
