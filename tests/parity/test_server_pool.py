"""Steps on batches drawn across the uploads of a round equal a loop written by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting.layout import laid_out
from fsl_sage_flwr.strategies import SplitStrategy
from fsl_sage_flwr.task import SplitTask

from ..memory_grid import MemoryGrid
from ..runs import assert_same, cse_fsl, fsl_sage, grid, heron_sfl, plain, train
from ..tasks import small_task
from ..unit.strategies.bad_replies import fail, in_round, with_huge

UPLOADING = [cse_fsl, heron_sfl, fsl_sage]
ROUNDS = 2


def uploads_of(nodes: MemoryGrid) -> list[list[tuple[list[Tensor], Tensor]]]:
    """Return the smashed data and labels that clients uploaded, by round and client."""
    every = [
        (
            list(content.array_records["smashed"].to_torch_state_dict().values()),
            content.array_records["labels"].to_torch_state_dict(),
        )
        for content in nodes.received
        if "smashed" in content and "arrays" in content
    ]
    each = [(tensors, labels["labels"]) for tensors, labels in every]
    return [each[n : n + 3] for n in range(0, len(each), 3)]


def by_hand(task: SplitTask, rounds: Any, passes: int) -> dict[str, Tensor]:
    server = task.model.server
    optimizer = task.server_optimizer(server.parameters())
    for t, clients in enumerate(rounds):
        where = [(i, row) for i, (_, y) in enumerate(clients) for row in range(len(y))]
        for k in range(passes):
            generator = torch.Generator().manual_seed(derive_seed(task.seed, "uploads", t, k))
            order = [where[n] for n in torch.randperm(len(where), generator=generator).tolist()]
            parts = [order[n : n + 6] for n in range(0, len(order), 6)]
            if len(parts) > 1 and len(parts[-1]) == 1:  # BatchNorm needs two samples
                parts[-2:] = [parts[-2] + parts[-1]]
            torch.manual_seed(derive_seed(task.seed, "pool", t, str(k / passes)))
            for part in parts:
                rows = sorted(part, key=lambda place: place[0])
                z = torch.stack([clients[i][0][0][row] for i, row in rows])
                z = laid_out(z, task.smashed_example()[0])
                y = torch.stack([clients[i][1][row] for i, row in rows])
                optimizer.zero_grad()
                task.loss(server(z), y).backward()
                optimizer.step()
    return dict(server.state_dict())


@pytest.mark.sample
@pytest.mark.parametrize("passes", [1, 2])
def test_the_server_half_equals_the_loop(passes: int) -> None:
    strategy, nodes = cse_fsl(server_pool=True, server_steps=passes), grid()
    train(strategy, nodes, ROUNDS)
    expected = by_hand(small_task(), uploads_of(nodes), passes)
    assert_same(strategy.state_dict()["server"]["half"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("make", UPLOADING)
def test_messages_of_the_first_round_are_the_same_and_the_half_is_another(make: Any) -> None:
    pooled, nodes, ours = make(server_pool=True), grid(), plain(make)
    train(pooled, nodes, 1)
    sent = [{name: len(record) for name, record in content.items()} for content in nodes.sent]
    theirs = [
        {name: len(record) for name, record in content.items()}
        for content in ours.nodes.sent[: len(sent)]
    ]
    assert sent == theirs
    half, other = (state["server"]["half"] for state in (pooled.state_dict(), ours.after(1).state))
    assert not torch.equal(half["last.2.weight"], other["last.2.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("make", UPLOADING)
def test_nodes_and_the_order_of_replies_change_no_bit(make: Any) -> None:
    ours, other = make(server_pool=True), make(server_pool=True)
    assert_same(train(ours, grid(), ROUNDS), train(other, grid(backwards=True), ROUNDS))
    assert_same(ours.state_dict(), other.state_dict())


def test_a_client_whose_samples_leave_no_finite_half_is_excluded_as_if_lost() -> None:
    def left(change: Any) -> tuple[SplitStrategy, Any]:
        strategy = cse_fsl(server_pool=True)
        arrays = train(strategy, grid(tamper=in_round(0, 1, change)), 1)
        return strategy, arrays.to_torch_state_dict()

    strategy, arrays = left(with_huge("smashed", 3e38))
    assert "the server half's loss is" in strategy.last_round.failures[1]
    other, theirs = left(fail)
    assert_same(arrays, dict(theirs))
    assert_same(strategy.state_dict()["server"], other.state_dict()["server"])


@pytest.mark.slow
def test_a_failed_round_restores_the_half_and_keeps_no_upload() -> None:
    strategy = cse_fsl(server_pool=True, min_train_nodes=3)
    nodes = grid(tamper=in_round(0, 1, with_huge("smashed", 3e38)))
    train(strategy, nodes, 2)
    failed, trained = uploads_of(nodes)
    assert (len(failed), strategy.rounds_done, strategy.rounds_trained) == (3, 2, 1)
    expected = by_hand(small_task(), [[], trained], 1)
    assert_same(strategy.state_dict()["server"]["half"], expected)
