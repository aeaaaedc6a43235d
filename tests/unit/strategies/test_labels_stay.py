"""Clients hold the model's tail, and no message has a label."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

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

from ...runs import assert_same, server_state, train
from ...tails import LINEAR, tail_grid, tail_task, u_shaped_v1, u_shaped_v2
from ...tasks import CLIENTS, few_batches, small_net
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


@pytest.mark.slow
@V1_AND_V2
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


@pytest.mark.slow
def test_halves_between_two_trips_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = u_shaped_v1(), u_shaped_v1()
    ours = train(one, tail_grid(), 2)
    monkeypatch.setattr(server_half_per_client, "MOST_AT_WORK", 1)
    assert_same(ours, train(other, tail_grid(), 2))
    assert_same(server_state(one), server_state(other))
