"""Clients with no example, with one, and with figures that are too large to be added up."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from flwr.app import Message
from torch import nn

from fsl_sage_flwr.rounds.server import aligned_heads
from fsl_sage_flwr.strategies import TrainingFailedError
from fsl_sage_flwr.task import Batch, ClientIdentity

from ...memory_grid import MemoryGrid
from ...runs import assert_same, fed_avg, fsl_sage, grid, train
from ...tasks import CLASSES, CLASSIFICATION, CLIENTS, numbered_batches, small_app, small_batches
from .bad_replies import in_round
from .strategy_tables import every_strategy


def nothing_for_one(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """Client 1 has no example; its batches are made when they are asked for."""
    return small_batches(client, seed, 0 if client.partition_id == 1 else 2)


@pytest.mark.slow
@every_strategy
def test_a_client_without_examples_is_left_out_in_words(make: Callable[..., Any]) -> None:
    strategy = make()
    train(strategy, grid(batches=nothing_for_one), 1)
    assert list(strategy.last_round.failures) == [1]
    assert strategy.last_round.failures[1].endswith(
        f"client 1 of {CLIENTS} has no training examples; give its node data, or let fewer "
        "clients share the dataset"
    )
    assert strategy.last_round.clients == 2


def test_a_client_whose_labels_do_not_count_is_left_out_in_words() -> None:
    nothing_counts = replace(CLASSIFICATION, count=lambda labels: 0)
    strategy = fed_avg(max_failed_rounds=2)
    with pytest.raises(TrainingFailedError):
        train(strategy, MemoryGrid(small_app(objective=nothing_counts), CLIENTS), 1)
    assert "client 0 of 3 has no label that counts" in strategy.last_round.failures[0]


def normalising_head() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4 * 36, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)
    )


def one_example_for_one(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    if client.partition_id != 1:
        return small_batches(client, seed, 2)
    (inputs, labels), *_ = small_batches(client, seed, 2)
    return [(inputs[:1], labels[:1])]


@pytest.mark.slow
def test_a_single_sample_does_not_end_a_run_with_a_head_that_normalises() -> None:
    """The server half takes one; the head that is aligned on it does not."""
    strategy = fsl_sage({"auxiliary": normalising_head})
    app = small_app(auxiliary=normalising_head, train_batches=one_example_for_one)
    train(strategy, MemoryGrid(app, CLIENTS), 2)
    assert strategy.last_round.clients == 2
    assert "do not make 1 samples in batches of at least 2" in strategy.last_round.failures[1]


@pytest.mark.slow
def test_a_head_whose_alignment_is_not_finite_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    aligned = aligned_heads.align_heads

    def spoilt(*given: Any) -> Any:
        for job, quality in aligned(*given):
            if job.group == 1:
                with torch.no_grad():
                    next(job.head.parameters()).fill_(torch.nan)
                quality = quality and replace(quality, product=float("nan"))
            yield job, quality

    monkeypatch.setattr(aligned_heads, "align_heads", spoilt)
    strategy = fsl_sage()
    train(strategy, grid(batches=numbered_batches), 1)
    assert strategy.last_round.failures == {}
    assert strategy.last_round.alignment_cosine is not None
    assert -1 <= strategy.last_round.alignment_cosine <= 1
    assert "round 1: the head of group 1 has gradients that are not finite" in caplog.text
    # Client 1 trained on the head that there was.
    heads = strategy.state_dict()["heads"]["heads"]
    assert [heads[client]["version"] for client in range(CLIENTS)] == [1, 0, 1]


@pytest.mark.slow
@pytest.mark.usefixtures("still_time")
def test_a_loss_that_is_too_large_to_be_added_up_is_refused() -> None:
    def change(reply: Message) -> Message:
        reply.content.metric_records["metrics"]["train-loss"] = 1.7e308
        return reply

    strategy, lost = fed_avg(), fed_avg(round_timeout=0.1)
    ours = train(strategy, grid(tamper=in_round(0, 1, change)), 1)
    assert strategy.last_round.failures == {
        1: "'train-loss' is 1.7e+308; a number from 0 to 1e+18 is needed"
    }
    assert strategy.last_round.train_loss is not None
    assert strategy.last_round.train_loss < 100
    theirs = train(lost, grid(tamper=in_round(0, 1, lambda reply: None)), 1)
    assert_same(ours, theirs)
