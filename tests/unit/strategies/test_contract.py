"""What every strategy must keep, in one table."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.strategies import TrainingFailedError

from ...memory_grid import MemoryGrid, error_instead
from ...runs import ROUNDS, app_for, assert_same, grid_for, plain, server_state, train, watched
from ...tasks import CLIENTS, one_batch
from .bad_replies import cut_short, fail, in_round, with_nan
from .strategy_tables import (
    BUFFERED,
    CODED,
    MAY_BE_LATE,
    STRATEGIES,
    coded_too,
    every_payload,
    once_coded,
    skip_where_one_reply_is_all,
    with_tails_too,
)


@pytest.mark.sample
@every_payload
def test_bytes_counted_are_the_bytes_in_the_messages(make: Callable[..., Any]) -> None:
    strategy, nodes = plain(make).strategy, plain(make).nodes
    sent = sum(r.count_bytes() for content in nodes.sent for r in content.values())
    received = sum(r.count_bytes() for content in nodes.received for r in content.values())
    by_kind = strategy.ledger.by_kind()
    assert sum(v for k, v in by_kind.items() if k.startswith("down")) == sent
    assert sum(v for k, v in by_kind.items() if k.startswith("up")) == received
    assert strategy.ledger.total == sent + received


@pytest.mark.sample
@coded_too
def test_same_config_same_bits_whatever_the_nodes_and_the_order(make: Callable[..., Any]) -> None:
    ours, other = plain(make).after(ROUNDS), make()
    theirs = train(other, grid_for(make, first_node=5, backwards=True), ROUNDS)
    assert_same(ours.arrays, theirs)
    assert_same(ours.state, other.state_dict())


@pytest.mark.sample
@with_tails_too
def test_another_seed_gives_other_bits(make: Callable[..., Any]) -> None:
    ours = plain(make).after(1).arrays
    other = make({"seed": 4})
    nodes = MemoryGrid(app_for(make, seed=4), CLIENTS)
    theirs = train(other, nodes, 1).to_torch_state_dict()
    if not other.trains_client_half:
        ours, theirs = (
            of["server"]["half"] for of in (plain(make).after(1).state, server_state(other))
        )
        assert not torch.equal(ours["last.2.weight"], theirs["last.2.weight"])
    else:
        name = next(name for name in ours if name.endswith("stem.weight"))  # behind a tail's front
        assert not torch.equal(ours[name], theirs[name])


@pytest.mark.sample
@pytest.mark.parametrize("name", MAY_BE_LATE)
def test_a_buffer_of_all_clients_is_a_round_that_waits(name: str) -> None:
    buffered, waiting = plain(BUFFERED[f"{name}, buffer"]), plain(STRATEGIES[name])
    for number in range(1, ROUNDS + 1):
        ours, theirs = buffered.after(number), waiting.after(number)
        assert_same((ours.arrays, ours.state), (theirs.arrays, theirs.state))
        assert ours.total == theirs.total


@pytest.mark.sample
@once_coded
def test_client_left_out_once_is_back_in_the_next_round(make: Callable[..., Any]) -> None:
    strategy = make()
    train(strategy, grid_for(make, tamper=in_round(1, 1, fail), batches=one_batch), 3)
    assert strategy.last_round.clients == 3
    assert strategy.last_round.failures == {}


@pytest.mark.sample
@once_coded
@pytest.mark.parametrize("keep", [True, False])
def test_client_that_comes_back_as_another_node_goes_on(
    make: Callable[..., Any], keep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A SuperNode that was restarted; its optimizer's state has gone, and that is said."""
    strategy, nodes = make(keep_optimizer_state=keep), grid_for(make, batches=one_batch)

    def each_round(server_round: int, arrays: object) -> None:
        assert strategy.last_round.failures == {}
        if server_round == 1:
            nodes.restart_node(1, new_id=True)

    with caplog.at_level(logging.WARNING, logger="flwr.fsl_sage"):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=3, evaluate_fn=each_round)
    assert strategy.last_round.clients == 3
    said = [text for text in caplog.messages if "optimizer state" in text]
    has_optimizers = keep and type(strategy).trains_client_half
    assert said == ["clients [1] had lost their optimizer state; it began afresh"] * has_optimizers


@pytest.mark.sample
@coded_too
def test_round_with_too_few_replies_is_given_up(make: Callable[..., Any]) -> None:
    """The average and the server half are as they were before the round."""
    skip_where_one_reply_is_all(make)
    shorter, strategy = plain(make).after(1), make(min_train_nodes=3)
    spoil = cut_short if make in CODED.values() else with_nan
    ours = train(strategy, grid_for(make, tamper=in_round(1, 2, spoil)), 2)
    assert strategy.last_round.clients == 2
    assert_same(ours, shorter.arrays)
    ours_left, theirs_left = server_state(strategy), shorter.server
    assert (ours_left.pop("rounds_done"), theirs_left.pop("rounds_done")) == (2, 1)
    assert_same(ours_left, theirs_left)


@pytest.mark.sample
@with_tails_too
def test_three_rounds_given_up_end_the_run(make: Callable[..., Any]) -> None:
    def broken(partition: int, reply: Message) -> Message | None:
        if not reply.metadata.message_type.startswith("train"):
            return reply
        return error_instead(reply, f"client {partition} broke")  # all with one error end at once

    strategy = make()
    with pytest.raises(TrainingFailedError, match=r"3 rounds in a row.*client 0: error 2"):
        train(strategy, grid_for(make, tamper=broken, batches=one_batch), 10)
    assert strategy.rounds_done == 3


@pytest.mark.sample
@coded_too
@pytest.mark.parametrize("stop", [2])
def test_resumed_run_equals_an_uninterrupted_one(make: Callable[..., Any], stop: int) -> None:
    """With the clients' optimizers fresh each round: those are not in a checkpoint.

    The checkpoint is of the uninterrupted run, made after a round of it as the recorder does.
    """
    whole = watched(make(keep_optimizer_state=False), grid_for(make), ROUNDS)
    saved = whole.after(stop)
    second = make(keep_optimizer_state=False)
    second.load_state_dict(saved.state)
    # New nodes; but what codes have lost is not in a checkpoint, and the old ones know it.
    nodes = whole.nodes if make in CODED.values() else grid_for(make, first_node=9)
    theirs = train(second, nodes, ROUNDS - stop, ArrayRecord(saved.arrays))

    assert_same(whole.after(ROUNDS).arrays, theirs)
    assert_same(whole.after(ROUNDS).server, server_state(second))
    assert second.last_round.round == ROUNDS


@pytest.mark.slow
@with_tails_too
def test_integer_buffers_stay_integers(make: Callable[..., Any]) -> None:
    strategy, arrays = make(), plain(make).after(2).arrays
    (count,) = (name for name in arrays if name.endswith("norm.num_batches_tracked"))
    assert arrays[count].dtype == torch.int64
    client, server = strategy.model_state(ArrayRecord(arrays))
    strategy.task.model.client.load_state_dict(client)
    strategy.task.model.server.load_state_dict(server)


@pytest.mark.sample
@with_tails_too
def test_sampling_follows_the_seed(make: Callable[..., Any]) -> None:
    first, second = make(fraction_train=0.7), make(fraction_train=0.7)
    ours, theirs = (
        grid_for(make, batches=one_batch),
        grid_for(make, first_node=50, batches=one_batch),
    )
    train(first, ours, ROUNDS)
    train(second, theirs, ROUNDS)
    sampled = [pair for pair in ours.types if pair[0].startswith("train")]
    assert sampled == [pair for pair in theirs.types if pair[0].startswith("train")]
    if first.trains_client_half:  # otherwise each client gets one message in the run
        assert len(sampled) == 2 * ROUNDS
    assert len({client for _, client in sampled}) == 3
