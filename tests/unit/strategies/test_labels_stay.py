"""Clients hold the model's tail, and no message has a label."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.algorithm_options import ExchangeOptions, exchanged_bytes
from fsl_sage_flwr.client_apps.split_fed import FLUSH
from fsl_sage_flwr.client_apps.split_fed_tail import FRONT, TAIL
from fsl_sage_flwr.compression import PRESETS
from fsl_sage_flwr.rounds.server import server_half_per_client
from fsl_sage_flwr.splitting import ClientPrivacy, Workload, cut_of, split
from fsl_sage_flwr.strategies import (
    Ampere,
    CseFsl,
    CycleSl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    SplitFrozen,
)
from fsl_sage_flwr.task import ClientIdentity

from ...runs import assert_same, server_state, train, watched
from ...tails import LINEAR, tail_grid, tail_task, u_shaped_v1, u_shaped_v2
from ...tasks import CLIENTS, few_batches, small_net
from .test_contract import (
    AVERAGED_REPLY,
    empty,
    fail,
    in_round,
    of_another_round,
    swallow,
    with_huge,
    with_other_shape,
    without_smashed,
)
from .test_federated_evaluation import WITH_VALIDATION, validation

V1_AND_V2 = pytest.mark.parametrize("make", [u_shaped_v1, u_shaped_v2], ids=["V1", "V2"])


def samples() -> dict[int, int]:
    """Return the samples of a round by client."""
    return {
        client: sum(len(y) for _, y in few_batches(ClientIdentity(client, CLIENTS), 0))
        for client in range(CLIENTS)
    }


@V1_AND_V2
@pytest.mark.sample
def test_two_trips_a_batch_and_no_label_in_any_message(make: Callable[..., Any]) -> None:
    strategy, nodes = make(), tail_grid()
    train(strategy, nodes, 1)
    batches = sum(len(list(few_batches(ClientIdentity(c, CLIENTS), 0))) for c in range(CLIENTS))
    kinds = [kind for kind, _ in nodes.types]
    assert [kinds.count(kind) for kind in (FRONT, TAIL, FLUSH)] == [batches, batches, CLIENTS]
    assert not any("labels" in content for content in nodes.received)
    by_kind = strategy.ledger.by_kind()
    assert by_kind["up_labels_bytes"] == 0
    assert strategy.ledger.total == sum(
        record.count_bytes()
        for content in [*nodes.sent, *nodes.received]
        for record in content.values()
    )
    assert strategy.last_round.train_loss is not None


@V1_AND_V2
@pytest.mark.sample
def test_bytes_by_formula(make: Callable[..., Any]) -> None:
    """Smashed data and hidden states, and the gradients of both."""
    strategy = make()
    train(strategy, tail_grid(), 1)
    task = tail_task()
    cut = cut_of(
        task.model, torch.nn.Module(), task.smashed_example(), hidden=task.hidden_example()
    )
    expected = sum(
        exchanged_bytes(cut, Workload(examples=count, batch_size=6), ExchangeOptions())
        for count in samples().values()
    )
    assert strategy.ledger.reference_total == expected


@V1_AND_V2
@pytest.mark.sample
def test_same_bits_whatever_the_nodes_and_the_order(make: Callable[..., Any]) -> None:
    one, other = make(), make()
    ours = train(one, tail_grid(), 2)
    assert_same(ours, train(other, tail_grid(first_node=5, backwards=True), 2))
    assert_same(one.state_dict(), other.state_dict())


@V1_AND_V2
@pytest.mark.sample
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(make: Callable[..., Any]) -> None:
    nodes, whole = tail_grid(), make()
    past = watched(whole, nodes, 3)
    again = tail_grid()
    first = make()
    arrays = train(first, again, 2)
    second = make()
    second.load_state_dict(first.state_dict())
    result = second.start(again, arrays, num_rounds=1)
    assert result.arrays is not None
    assert_same(past.after(3).arrays, dict(result.arrays.to_torch_state_dict()))
    assert_same(past.after(3).server, server_state(second))


def without_gradients(reply: Message) -> Message:
    del reply.content["gradients"]
    return reply


def with_odd_gradients(reply: Message) -> Message:
    tensors = dict(reply.content.array_records["gradients"].to_torch_state_dict())
    reply.content["gradients"] = ArrayRecord({k: t[:, :-1] for k, t in tensors.items()})
    return reply


def with_more_samples(reply: Message) -> Message:
    reply.content.metric_records["metrics"]["samples"] = 7
    return reply


def with_labels(reply: Message) -> Message:
    reply.content["labels"] = ArrayRecord({"labels": torch.zeros(6)})
    return reply


BAD = {
    FRONT: {
        "error": (fail, "error 2: the client broke"),
        "another round": (of_another_round, "reply of round 77"),
        "empty": (empty, "is missing"),
        "missing record": (without_smashed, "record 'smashed' is missing"),
        "wrong shape": (with_other_shape, "expected torch.float32"),
        "labels": (with_labels, "unknown records: labels"),
        "huge": (with_huge("smashed", 3e38), "not finite: the server half gives"),
    },
    TAIL: {
        "error": (fail, "error 2: the client broke"),
        "another round": (of_another_round, "reply of round 77"),
        "empty": (empty, "is missing"),
        "missing record": (without_gradients, "record 'gradients' is missing"),
        "wrong shape": (with_odd_gradients, "expected torch.float32"),
        "samples": (with_more_samples, "reply of samples 7 in samples 6"),
        "infinite": (with_huge("gradients", torch.inf), "NaN or infinite"),
        "huge": (with_huge("gradients", 1e30), "not finite: after its batches the server half"),
    },
    "train": AVERAGED_REPLY,
}


@V1_AND_V2
@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        pytest.param(kind, *case, id=f"{kind}-{name}")
        for kind, cases in BAD.items()
        for name, case in cases.items()
    ],
)
@pytest.mark.sample
def test_a_bad_reply_excludes_its_client_and_changes_no_bit_of_the_others(
    make: Callable[..., Any], kind: str, change: Any, reason: str
) -> None:
    """Its second batch, or its last reply, is bad; the others are as if it were absent."""
    strategy, place = make(), 0 if kind == "train" else 1
    arrays = train(strategy, tail_grid(tamper=in_round(place, 1, change, kind)), 1)
    assert set(strategy.last_round.failures) == {1}
    assert reason in strategy.last_round.failures[1]
    if kind != "train" or make is u_shaped_v1:
        absent = make()
        theirs = train(absent, tail_grid(tamper=in_round(0, 1, fail, FRONT)), 1)
        assert_same(arrays, theirs)
        assert_same(server_state(strategy)["server"], server_state(absent)["server"])


@V1_AND_V2
@pytest.mark.usefixtures("still_time")
@pytest.mark.sample
def test_a_client_whose_second_trip_gets_no_reply_is_excluded(make: Callable[..., Any]) -> None:
    strategy = make(round_timeout=0.3)
    train(strategy, tail_grid(tamper=in_round(1, 1, swallow, TAIL)), 1)
    assert strategy.last_round.failures == {1: "no reply within 0.3 s"}


@V1_AND_V2
@pytest.mark.sample
def test_coded_messages_train(make: Callable[..., Any]) -> None:
    strategy, plain = make(compression=PRESETS["strong"]), make()
    nodes = tail_grid()
    train(strategy, nodes, 2)
    train(plain, tail_grid(), 2)
    assert not strategy.last_round.failures
    for column in ("down_smashed", "up_smashed", "down_gradients", "up_gradients"):
        coded, raw = (of.ledger.by_kind()[f"{column}_bytes"] for of in (strategy, plain))
        assert 0 < coded < raw


@V1_AND_V2
@pytest.mark.sample
def test_clients_evaluate_behind_their_own_tail(make: Callable[..., Any]) -> None:
    strategy = make(WITH_VALIDATION, fraction_evaluate=1.0)
    nodes = tail_grid(task_changes=WITH_VALIDATION)
    arrays = train(strategy, nodes, 1)
    found = strategy.last_round.validation
    assert found is not None
    assert not any("labels" in content for content in nodes.received)

    def batches() -> Any:
        return [b for c in range(CLIENTS) for b in validation(ClientIdentity(c, CLIENTS))]

    whole = strategy.evaluate(arrays, batches)
    assert found.accuracy == pytest.approx(whole.accuracy)
    assert found.loss == pytest.approx(whole.loss, rel=1e-5)
    assert found.num_examples == whole.num_examples


OTHERS = [
    FullModelFedAvg,
    partial(CseFsl, server_update_interval=2),
    FslSage,
    partial(HeronSfl, server_update_interval=2),
    CycleSl,
    SplitFrozen,
    Ampere,
]


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: getattr(kind, "func", kind).__name__)
def test_an_algorithm_whose_server_needs_labels_refuses_a_tail(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"has a tail at 'last\.2', and \w+ needs the labels"):
        kind(tail_task())


@V1_AND_V2
def test_what_a_tail_excludes_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="batches_per_exchange = 2: with a tail"):
        make(batches_per_exchange=2)
    with pytest.raises(ValueError, match="client_privacy: clients with a tail"):
        make({"client_privacy": ClientPrivacy(1.0, 0.0, 6)})


def test_the_parts_names_make_the_models() -> None:
    net, example = small_net()
    model = split(net, "block", example, tail="last.2")
    assert model.merged_state_dict().keys() == net.state_dict().keys()
    client, server = model.parted(
        net.state_dict(), model.client.state_dict(), model.server.state_dict()
    )
    assert client.keys() == model.client.state_dict().keys()
    assert server.keys() == model.server.state_dict().keys()
    assert (model.cut, model.tail_cut) == LINEAR


def test_halves_between_two_trips_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = u_shaped_v1(), u_shaped_v1()
    ours = train(one, tail_grid(), 2)
    monkeypatch.setattr(server_half_per_client, "MOST_AT_WORK", 1)
    assert_same(ours, train(other, tail_grid(), 2))
    assert_same(server_state(one), server_state(other))
