"""SplitFrozen equals its equations written as a loop, bit for bit."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import SplitModel
from fsl_sage_flwr.task import ClientIdentity

from ..memory_grid import MemoryGrid
from ..runs import assert_same, split_frozen
from ..tasks import CLIENTS, Back, Front, small_app, small_net, small_task

ROUNDS, EPOCHS, BATCH = 4, 2, 6


def changes() -> dict[str, Any]:
    """Dropout on the client alone, where it must not drop anything."""
    model = SplitModel(Front(small_net(0.5)[0]), Back(small_net(0.0)[0]), cut="block")
    return {"model": model, "local_epochs": EPOCHS}


@pytest.mark.sample
@pytest.mark.parametrize("fraction", [1.0, 0.7])
def test_four_rounds_equal_the_loop_by_hand(fraction: float) -> None:
    """With a fraction below 1 new clients come in later rounds."""
    strategy = split_frozen(changes(), fraction_train=fraction)
    of_round: list[list[int]] = []

    def note(server_round: int, arrays: object) -> None:
        if server_round:
            of_round.append([row.client for row in strategy.client_rounds()])

    nodes = MemoryGrid(small_app(**changes()), CLIENTS)
    first = strategy.initial_arrays()
    arrays = strategy.start(nodes, first, num_rounds=ROUNDS, evaluate_fn=note).arrays
    assert {client for clients in of_round for client in clients} == set(range(CLIENTS))
    assert (of_round[1:] == of_round[:-1]) == (fraction == 1.0)

    task = small_task(**changes())
    x_c, x_s = task.model.client.eval(), task.model.server.train()
    optimizer = task.server_optimizer(x_s.parameters())
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    for t, clients in enumerate(of_round):
        for i in (i for i in clients if i not in kept):
            seed = derive_seed(task.seed, "batches", t, i, 0)
            batches = list(task.train_batches(ClientIdentity(i, CLIENTS), seed))
            with torch.no_grad():
                z = torch.cat([x_c(x) for x, _ in batches])
            kept[i] = z, torch.cat([y for _, y in batches])
        z, y = (torch.cat(column) for column in zip(*(kept[i] for i in clients), strict=True))
        for epoch in range(EPOCHS):
            draw = torch.Generator().manual_seed(derive_seed(task.seed, "pool", t, epoch))
            for rows in torch.randperm(len(y), generator=draw).split(BATCH):
                # Within a batch client after client: a mean over it depends on the order.
                owner = torch.cat([torch.full((len(kept[i][1]),), i) for i in clients])[rows]
                rows = rows[owner.argsort(stable=True)]
                optimizer.zero_grad()
                task.loss(x_s(z[rows]), y[rows]).backward()
                optimizer.step()

    assert_same(arrays, first.to_torch_state_dict())
    assert_same(arrays, x_c.state_dict())
    assert_same(strategy.state_dict()["server"]["half"], x_s.state_dict())
