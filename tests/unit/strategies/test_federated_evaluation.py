"""Clients evaluate on their own validation part; the split ones never hold the server half."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.messages import EVALUATE_FULL_MODEL, EVALUATE_SPLIT
from fsl_sage_flwr.task import Batch, ClientIdentity, TrainBatches

from ...memory_grid import MemoryGrid, error_instead
from ...rows import rows
from ...runs import (
    ROUNDS,
    Past,
    assert_same,
    cse_fsl,
    fed_avg,
    fsl_sage,
    grid,
    plain,
    split_fed_v1,
    split_fed_v2,
    train,
    watched,
)
from ...tasks import CLASSES, CLIENTS, few_batches, one_batch, small_app, small_task

SPLIT = [split_fed_v1, split_fed_v2, cse_fsl, fsl_sage]
# What they share in one base, tried with one of either kind.
TWO_KINDS = pytest.mark.parametrize("make", [fed_avg, cse_fsl])
every_strategy = rows("make", [fed_avg, *SPLIT], lambda make: make in (fed_avg, fsl_sage))


def validation(client: ClientIdentity) -> list[Batch]:
    """Return two batches; the later the client, the more examples."""
    generator = torch.Generator().manual_seed(client.partition_id)
    sizes = (3, 2 + client.partition_id)
    return [
        (
            torch.randn(size, 1, 6, 6, generator=generator),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for size in sizes
    ]


WITH_VALIDATION: dict[str, Any] = {"validation_batches": validation}


def nodes(train_batches: TrainBatches = few_batches, **options: Any) -> MemoryGrid:
    app = small_app(**WITH_VALIDATION, train_batches=train_batches)
    return MemoryGrid(app, CLIENTS, **options)


@cache
def evaluated(make: Callable[..., Any]) -> Past:
    """Three rounds with every client's evaluation in each; shared, like ``runs.plain``."""
    return watched(make(WITH_VALIDATION, fraction_evaluate=1.0), nodes(), ROUNDS)


def by_hand(strategy: Any, arrays: Any, clients: list[int]) -> tuple[float, float]:
    """Return mean loss and accuracy of the whole model on some clients' parts together."""
    task = small_task()
    client, server = strategy.model_state(arrays)
    task.model.client.load_state_dict(client)
    task.model.server.load_state_dict(server)
    task.model.client.eval()
    task.model.server.eval()
    loss, correct, count = 0.0, 0, 0
    for i in clients:
        for inputs, labels in map(task.on_device, validation(ClientIdentity(i, CLIENTS))):
            with torch.no_grad():
                scores = task.model.server(task.model.client(inputs))
            loss += task.loss(scores, labels).item() * len(labels)
            correct += int((scores.argmax(1) == labels).sum())
            count += len(labels)
    return loss / count, correct / count


@pytest.mark.sample
@every_strategy
def test_it_is_the_whole_models_evaluation_weighted_by_examples(make: Callable[..., Any]) -> None:
    past = evaluated(make)
    left = past.after(ROUNDS)
    loss, accuracy = by_hand(past.strategy, ArrayRecord(left.arrays), list(range(CLIENTS)))
    found = left.summary.validation
    assert (found.loss, found.accuracy) == pytest.approx((loss, accuracy), rel=1e-6)
    assert found.num_examples == 5 + 6 + 7


@pytest.mark.sample
@TWO_KINDS
def test_flower_gets_the_results_of_every_round(make: Callable[..., Any]) -> None:
    strategy = make(WITH_VALIDATION, fraction_evaluate=1.0)
    result = strategy.start(nodes(), strategy.initial_arrays(), num_rounds=2)
    assert list(result.evaluate_metrics_clientapp) == [1, 2]
    last = result.evaluate_metrics_clientapp[2]
    found = strategy.last_round.validation
    assert dict(last) == {
        "validation-loss": found.loss,
        "validation-accuracy": found.accuracy,
    }


@every_strategy
@pytest.mark.sample
def test_it_changes_nothing_of_the_training(make: Callable[..., Any]) -> None:
    with_it, without = evaluated(make).after(ROUNDS), plain(make).after(ROUNDS)
    assert_same(with_it.arrays, without.arrays)
    assert_same(with_it.server, without.server)


@pytest.mark.slow
@pytest.mark.parametrize("make", SPLIT)
def test_clients_never_hold_the_server_half(make: Callable[..., Any]) -> None:
    strategy, found = evaluated(make).strategy, evaluated(make).nodes
    server = set(strategy.task.model.server.state_dict())
    for (kind, _), content in zip(found.types, found.sent, strict=True):
        for name, record in content.array_records.items():
            if name != "auxiliary":
                assert not server & set(record), kind
    assert found.types[-1][0] == EVALUATE_SPLIT


def test_clients_of_fed_avg_score_themselves() -> None:
    found = evaluated(fed_avg).nodes
    assert found.types[-1][0] == EVALUATE_FULL_MODEL
    assert [set(content) for content in found.received[-CLIENTS:]] == [{"metrics"}] * CLIENTS


@pytest.mark.slow
@TWO_KINDS
def test_its_bytes_are_counted(make: Callable[..., Any]) -> None:
    strategy, found = evaluated(make).strategy, evaluated(make).nodes
    contents = [*found.sent, *found.received]
    assert strategy.ledger.total == sum(
        record.count_bytes() for content in contents for record in content.values()
    )


@pytest.mark.slow
@TWO_KINDS
def test_a_fraction_is_drawn_by_the_seed(make: Callable[..., Any]) -> None:
    asked = []
    for first_node in (1, 500):
        found = nodes(first_node=first_node, train_batches=one_batch)
        train(make(WITH_VALIDATION, fraction_evaluate=0.7), found, 4)
        asked.append([pair for pair in found.types if pair[0].startswith("evaluate")])
    assert asked[0] == asked[1]
    assert len(asked[0]) == 2 * 4
    assert len({client for _, client in asked[0]}) == CLIENTS


def emptied(reply: Message) -> Message:
    for name in list(reply.content):
        del reply.content[name]
    return reply


def with_nan(reply: Message) -> Message:
    if "metrics" in reply.content:
        reply.content.metric_records["metrics"]["loss"] = math.nan
    else:
        arrays = reply.content.array_records["smashed"].to_torch_state_dict()
        spoilt = {key: torch.full_like(tensor, math.nan) for key, tensor in arrays.items()}
        reply.content["smashed"] = ArrayRecord(spoilt)
    return reply


@pytest.mark.sample
@pytest.mark.usefixtures("still_time")
@TWO_KINDS
@pytest.mark.parametrize("change", [error_instead, emptied, with_nan, lambda reply: None])
def test_a_bad_answer_is_left_out_and_said(make: Callable[..., Any], change: Any) -> None:
    def tamper(partition: int, reply: Message) -> Message | None:
        evaluating = reply.metadata.message_type.startswith("evaluate")
        return change(reply) if evaluating and partition == 1 else reply

    strategy = make(WITH_VALIDATION, fraction_evaluate=1.0, round_timeout=0.2)
    arrays = train(strategy, nodes(tamper=tamper), 1)
    summary = strategy.last_round
    assert summary.failures[1].startswith("evaluation: ")
    assert summary.clients == CLIENTS
    loss, accuracy = by_hand(strategy, arrays, [0, 2])
    found = summary.validation
    assert (found.loss, found.accuracy) == pytest.approx((loss, accuracy), rel=1e-6)


@pytest.mark.slow
@TWO_KINDS
def test_without_a_good_answer_there_is_no_result(make: Callable[..., Any]) -> None:
    def tamper(partition: int, reply: Message) -> Message:
        return error_instead(reply) if reply.metadata.message_type.startswith("evaluate") else reply

    strategy = make(WITH_VALIDATION, fraction_evaluate=1.0)
    result = strategy.start(nodes(tamper=tamper), strategy.initial_arrays(), num_rounds=1)
    assert strategy.last_round.validation is None
    assert result.evaluate_metrics_clientapp == {}


@every_strategy
def test_a_task_without_a_validation_part_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"fraction_evaluate = 0.5 needs .* validation_batches"):
        make(fraction_evaluate=0.5)


@pytest.mark.slow
def test_a_node_without_a_validation_part_says_so() -> None:
    strategy = fsl_sage(WITH_VALIDATION, fraction_evaluate=1.0)
    train(strategy, grid(), 1)
    assert "has no validation_batches" in strategy.last_round.failures[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", [fed_avg, cse_fsl])
def test_one_clients_values_do_not_make_everybodys_loss_infinite(make: Callable[..., Any]) -> None:
    def tamper(client: int, reply: Message) -> Message:
        if client != 1 or not reply.metadata.message_type.startswith("evaluate"):
            return reply
        if "smashed" in reply.content:
            reply.content["smashed"] = ArrayRecord(
                {
                    name: torch.full_like(tensor, 1e38)
                    for name, tensor in reply.content.array_records["smashed"]
                    .to_torch_state_dict()
                    .items()
                }
            )
        else:
            reply.content.metric_records["metrics"]["loss"] = 1.7e308
        return reply

    strategy = make(WITH_VALIDATION, fraction_evaluate=1.0)
    train(strategy, nodes(one_batch, tamper=tamper), 1)
    summary = strategy.last_round
    assert list(summary.failures) == [1]
    assert summary.failures[1].startswith("evaluation: ")
    assert summary.validation is not None
    assert summary.validation.loss < 100
    others = [batch for i in (0, 2) for batch in validation(ClientIdentity(i, CLIENTS))]
    assert summary.validation.num_examples == sum(len(labels) for _, labels in others)
