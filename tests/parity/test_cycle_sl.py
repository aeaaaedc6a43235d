"""CycleSL equals a loop written by hand, bit for bit."""

import copy

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ..runs import assert_same, cycle_sl, grid, train
from ..tasks import small_batches, small_task

CLIENTS, ROUNDS = 3, 2


def by_hand(task: SplitTask, passes: int) -> dict[str, Tensor]:
    """Step the server half on samples of all clients, then each client through the updated half."""
    server = task.model.server
    server_optimizer = task.server_optimizer(server.parameters())
    halves = [copy.deepcopy(task.model.client) for _ in range(CLIENTS)]
    optimizers: list[torch.optim.Optimizer | None] = [None] * CLIENTS
    average = dict(task.model.client.state_dict())
    for t in range(ROUNDS):
        batches = []
        for i, half in enumerate(halves):
            half.load_state_dict(average)
            if optimizers[i] is None:
                optimizers[i] = task.client_optimizer(half.parameters())
            seed = derive_seed(task.seed, "batches", t, i, 0)
            batches.append(list(small_batches(ClientIdentity(i, CLIENTS), seed)))
        for k in range(max(len(found) for found in batches)):
            active = [i for i in range(CLIENTS) if k < len(batches[i])]
            smashed = {}
            for i in active:
                torch.manual_seed(derive_seed(task.seed, "client", t, i, k))
                smashed[i] = halves[i](batches[i][k][0])
            labels = {i: batches[i][k][1] for i in active}
            where = [(i, row) for i in active for row in range(len(labels[i]))]
            size = max(len(found) for found in labels.values())
            longest = max(len(found) for found in batches)
            for number in range(passes):
                place = (t, k) if number == 0 else (t, k, number)
                generator = torch.Generator().manual_seed(derive_seed(task.seed, "across", *place))
                order = [where[n] for n in torch.randperm(len(where), generator=generator).tolist()]
                parts = [order[n : n + size] for n in range(0, len(order), size)]
                if len(parts) > 1 and len(parts[-1]) == 1:  # BatchNorm needs two samples
                    parts[-2:] = [parts[-2] + parts[-1]]
                start = t + k / longest - t + 1 / longest * number / passes
                torch.manual_seed(derive_seed(task.seed, "pool", t, str(start)))
                for part in parts:
                    rows = sorted(part, key=lambda place: place[0])
                    z = torch.stack([smashed[i][row].detach() for i, row in rows])
                    y = torch.stack([labels[i][row] for i, row in rows])
                    server_optimizer.zero_grad()
                    task.loss(server(z), y).backward()
                    server_optimizer.step()
            for i in active:
                torch.manual_seed(derive_seed(task.seed, "answer", t, i, k))
                before = copy.deepcopy(server.state_dict())
                z = smashed[i].detach().requires_grad_()
                count = len(labels[i])
                (gradient,) = torch.autograd.grad(task.loss(server(z), labels[i]) * count, z)
                server.load_state_dict(before)  # its running statistics stay
                optimizers[i].zero_grad()
                smashed[i].backward(gradient / count)
                optimizers[i].step()
        weights = [float(sum(len(y) for _, y in found)) for found in batches]
        average = averaged([half.state_dict() for half in halves], weights)
    task.model.client.load_state_dict(average)
    return task.model.merged_state_dict()


def averaged(states: list[dict[str, Tensor]], weights: list[float]) -> dict[str, Tensor]:
    from fsl_sage_flwr.rounds.aggregation.aggregation import Aggregation

    return dict(Aggregation().of_states(iter(states), weights))


@pytest.mark.sample
@pytest.mark.parametrize("passes", [1, 3])
def test_it_equals_the_loop(passes: int) -> None:
    strategy = cycle_sl(server_steps=passes)
    arrays = train(strategy, grid(CLIENTS, batches=small_batches), ROUNDS)
    client, server = strategy.model_state(arrays)
    assert_same({**client, **server}, by_hand(small_task(), passes))
