"""How much one client may train the server half."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from flwr.app import Message

from fsl_sage_flwr.messages import SmashedBatches
from fsl_sage_flwr.objective import regression
from fsl_sage_flwr.rounds.checks import batch_limits
from fsl_sage_flwr.rounds.checks.batch_limits import BatchLimits, most_batches
from fsl_sage_flwr.rounds.ordered_replies import OrderedReplies
from fsl_sage_flwr.task import Batch, ClientIdentity

from ...runs import (
    assert_same,
    cse_fsl,
    fsl_sage,
    grid,
    plain,
    server_state,
    split_fed_v1,
    split_fed_v2,
    train,
)
from ...tasks import CLASSES, small_batches, small_task
from .bad_replies import EXCHANGE, fail, in_round
from .test_fraction_reply import failing

BATCH = 6  # of all batches but the last
KNOWN = {"batch_size": BATCH}
TRAIN = {"fsl_sage": fsl_sage, "cse_fsl": cse_fsl}  # HERON-SFL's uploads are CSE-FSL's


def smashed_of(*sizes: int) -> SmashedBatches:
    count = sum(sizes)
    draw = torch.Generator().manual_seed(1)
    tensors = torch.randn(count, 4, 6, 6, generator=draw)
    labels = torch.randint(CLASSES, (count,), generator=draw)
    return SmashedBatches((tensors,), labels, sizes)


def bringing(
    *sizes: int, examples: int | None = None, kind: str = "train"
) -> Callable[[int, Message], Message]:
    """Let client 1 answer with other batches, and perhaps with another number of examples."""

    def change(client: int, reply: Message) -> Message:
        if client == 1 and reply.metadata.message_type.startswith(kind):
            smashed_of(*sizes).write_to(reply.content)
            if examples is not None:
                reply.content.metric_records["metrics"]["num-examples"] = examples
        return reply

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "sizes", "examples", "reason"),
    [
        ({}, (2,) * 200, None, "400 examples uploaded, of 15 in each of 1 epochs"),
        ({}, (2,) * 6, None, "6 batches uploaded; 15 examples in 1 epochs give at most"),
        ({}, (2,) * 200, 400, "200 batches uploaded; 400 examples in 1 epochs give at most 100"),
        ({}, (2,) * 200, 10_000, "200 batches; at most 100 are taken: 20 times"),
        (KNOWN, (2,) * 200, 10_000, "200 batches that are not of 6 samples (batch-size)"),
        (KNOWN, (6,) * 3, None, "18 examples uploaded, of 15"),
        (KNOWN, (6, 9), None, "a batch of 9 samples; at most 7 are taken"),
        (KNOWN, (6,) * 50, 301, "50 batches uploaded; 301 examples in 1 epochs give at most 26"),
    ],
)
@pytest.mark.parametrize(
    "make", [pytest.param(m, marks=[] if m is cse_fsl else pytest.mark.slow, id=n)
             for n, m in TRAIN.items()]
)  # fmt: skip
def test_an_upload_is_what_its_senders_examples_allow(
    make: Callable[..., Any], task: dict[str, int], sizes: tuple[int, ...],
    examples: int | None, reason: str,
) -> None:  # fmt: skip
    """Otherwise it is as if its client had failed."""
    lost, strategy = make(task), make(task)
    ours = train(strategy, grid(tamper=bringing(*sizes, examples=examples)), 1)
    assert reason in strategy.last_round.failures[1]
    theirs = train(lost, grid(tamper=in_round(0, 1, fail)), 1)
    assert_same(ours.to_torch_state_dict(), theirs.to_torch_state_dict())
    assert_same(server_state(strategy), server_state(lost))


@pytest.mark.slow
@pytest.mark.parametrize("make", [cse_fsl, fsl_sage, split_fed_v1, split_fed_v2])
def test_where_the_batch_size_is_known_honest_runs_are_the_same(make: Callable[..., Any]) -> None:
    theirs, strategy = plain(make).after(2), make(KNOWN)
    ours = train(strategy, grid(), 2)
    assert_same(ours.to_torch_state_dict(), theirs.arrays)
    assert_same(server_state(strategy), theirs.server)


@pytest.mark.slow
def test_a_probe_has_one_batch() -> None:
    strategy = fsl_sage()
    train(strategy, grid(tamper=bringing(6, 6, kind="query.fsl_sage_probe")), 1)
    assert strategy.last_round.failures == {1: "2 batches; one was asked for"}


def one_has_many(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    return small_batches(client, seed, 8 if client.partition_id == 1 else 2)


@pytest.mark.slow
@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2])
def test_a_client_of_a_round_of_exchanges_has_not_any_number_of_batches(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """V2 knows at once; V1, whose clients do not wait, when more have come than others have."""
    monkeypatch.setattr(batch_limits, "ALWAYS_TAKEN", 1)
    monkeypatch.setattr(batch_limits, "TIMES_THE_MEDIAN", 1)
    strategy, lost = make(), make()
    nodes = grid(batches=one_has_many)
    ours = train(strategy, nodes, 1)
    assert "batches; at most 2 are taken" in strategy.last_round.failures[1]
    sent = sum(client == 1 and kind == EXCHANGE for kind, client in nodes.types)
    assert sent == (3 if make is split_fed_v1 else 1)
    theirs = train(lost, grid(batches=one_has_many, tamper=failing(1)), 1)
    assert_same(ours.to_torch_state_dict(), theirs.to_torch_state_dict())
    assert_same(server_state(strategy), server_state(lost))


@pytest.mark.slow
@pytest.mark.parametrize("examples", [14, 16, 10**9])
@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2])
def test_num_examples_are_those_that_were_exchanged(
    make: Callable[..., Any], examples: int
) -> None:
    def lie(client: int, reply: Message) -> Message:
        if client == 1 and reply.metadata.message_type.startswith("train"):
            reply.content.metric_records["metrics"]["num-examples"] = examples
        return reply

    strategy = make()
    train(strategy, grid(tamper=lie), 1)
    said = f"num-examples is {examples}; it has sent 15 in each epoch"
    assert strategy.last_round.failures == {1: said}


@pytest.mark.slow
@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2])
def test_exchanged_batches_have_the_tasks_size(make: Callable[..., Any]) -> None:
    def smaller(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        for inputs, labels in small_batches(client, seed, 3):
            yield (inputs[:2], labels[:2]) if client.partition_id == 1 else (inputs, labels)

    strategy = make(KNOWN)
    train(strategy, grid(batches=smaller), 1)
    assert "2 batches that are not of 6 samples" in strategy.last_round.failures[1]


@pytest.mark.slow
def test_work_on_a_clients_batches_counts_towards_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    strategy, lost = cse_fsl({}, round_timeout=10.0), cse_fsl()

    def note(round_: Any, client: int, *args: Any, **more: Any) -> bool:
        nonlocal of
        of = client
        return whole(round_, client, *args, **more)

    def set_rate(*args: Any) -> None:
        nonlocal now
        now += 6.0 if of == 1 else 4.0

    of, whole = 0, strategy.server.step
    monkeypatch.setattr(strategy.server, "step", note)
    monkeypatch.setattr("fsl_sage_flwr.rounds.server.server_half.set_rate", set_rate)
    ours = train(strategy, grid(), 1)
    said = "it, and the server on its batches, took over 10 s"
    assert strategy.last_round.failures == {1: said}
    theirs = train(lost, grid(tamper=in_round(0, 1, fail)), 1)
    assert_same(ours.to_torch_state_dict(), theirs.to_torch_state_dict())
    assert_same(server_state(strategy), server_state(lost))


def test_limits_of_a_task_whose_objective_counts_something_else() -> None:
    task = small_task(num_classes=None, objective=regression(), batch_size=4, local_epochs=2)
    limits = BatchLimits(task)
    assert limits.problem_with_upload(smashed_of(4, 3, 4, 3), 7, 1) is None
    assert limits.problem_with_upload(smashed_of(4, 5), 9, 2) is None  # 5: a single one joined
    assert limits.problem_with_upload(smashed_of(4, 1, 4, 1), 5, 1) is None  # and one that did not
    assert "3 batches that are not" in str(limits.problem_with_upload(smashed_of(3, 3, 3), 9, 1))


@pytest.mark.parametrize(
    ("counts", "most"), [([], 100), ([1, 1, 1], 100), ([6, 2, 400], 120), ([10, 20], 300)]
)
def test_most_batches(counts: list[int], most: int) -> None:
    assert most_batches(counts) == most


def test_who_may_bring_too_many_waits_for_the_others() -> None:
    """And with it those behind it: the order stays."""
    served = []
    known: dict[int, int] = {}

    def is_ready(client: int, batches: int) -> bool:
        return batches <= 5 or len(known) == 3

    replies = OrderedReplies(range(3), is_ready)
    for client, batches in ((0, 9), (1, 1), (2, 8)):
        known[client] = batches
        replies.add(client, batches)
        served += [client for client, _ in replies.take(())]
        assert served == ([0, 1, 2] if client == 2 else [])


@pytest.mark.slow
def test_a_large_client_among_large_ones_is_served_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes out does not depend on who answers first."""
    monkeypatch.setattr(batch_limits, "ALWAYS_TAKEN", 0)
    monkeypatch.setattr(batch_limits, "TIMES_THE_MEDIAN", 1)
    found = []
    for backwards in (False, True):
        strategy = cse_fsl()
        arrays = train(strategy, grid(backwards=backwards), 1)
        found.append((arrays.to_torch_state_dict(), server_state(strategy),
                      strategy.last_round.failures))  # fmt: skip
    assert_same(found[0][0], found[1][0])
    assert_same(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]
