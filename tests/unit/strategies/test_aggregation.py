"""Averages that a few clients cannot move, and the refusal of what stands out."""

import logging
from ast import literal_eval
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsl_sage_flwr.rounds.aggregation.aggregation import RULES
from fsl_sage_flwr.rounds.aggregation.averaging import average
from fsl_sage_flwr.rounds.aggregation.choice import squared_distances
from fsl_sage_flwr.strategies import Aggregation, SplitStrategy, TrainingFailedError
from fsl_sage_flwr.task import Batch, ClientIdentity

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import assert_same, cse_fsl, fed_avg, grid, plain, server_state, split_fed_v1, train
from ...tasks import CLIENTS, small_app, small_batches
from .bad_replies import in_round, with_huge
from .strategy_tables import STRATEGIES
from .test_fraction_reply import failing

ROBUST = [rule for rule in RULES if rule != "mean"]
ALGORITHMS = {name: make for name, make in STRATEGIES.items() if "," not in name}
every_algorithm = pytest.mark.parametrize("make", ALGORITHMS.values(), ids=ALGORITHMS)


def states(count: int, seed: int = 0) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        {"w": torch.randn(3, 2, generator=draw), "n": torch.tensor([k, 7])} for k in range(count)
    ]


@pytest.mark.slow
@settings(deadline=None)  # the first example imports pydantic
@given(st.integers(1, 6), st.integers(0, 99))
def test_the_mean_of_records_is_the_mean_of_states(count: int, seed: int) -> None:
    given_states, weights = states(count, seed), [1.0 + k for k in range(count)]
    records = [ArrayRecord(state) for state in given_states]
    ours = Aggregation().of_records(records, weights).to_torch_state_dict()
    assert_same(dict(ours), average(given_states, weights))


def test_the_median_and_the_trimmed_mean_are_those_of_numpy() -> None:
    given_states = states(5)
    stacked = np.stack([state["w"].numpy() for state in given_states])
    median = Aggregation("median").of_states(given_states, [1.0] * 5)["w"]
    assert torch.equal(median, torch.from_numpy(np.median(stacked, axis=0)))
    trimmed = Aggregation("trimmed_mean").of_states(given_states, [1.0] * 5)["w"]
    expected = torch.from_numpy(np.sort(stacked, axis=0)[1:-1].mean(axis=0))
    assert torch.allclose(trimmed, expected)


@pytest.mark.parametrize("rule", ROBUST)
def test_one_of_seven_cannot_move_a_robust_average_far(rule: str) -> None:
    given_states = states(7)
    bad = {"w": torch.full((3, 2), 1e6), "n": given_states[0]["n"]}
    rule_, all_states = Aggregation(rule), [bad, *given_states[1:]]
    chosen = rule_.choose({client: [state] for client, state in enumerate(all_states)})
    found = rule_.of_states([all_states[client] for client in chosen], [1.0] * len(chosen))
    assert found["w"].abs().max() < 5
    assert found["w"].dtype == torch.float32
    assert found["n"].dtype == torch.int64
    assert float(given_states[1]["w"].abs().max()) < 5  # what was given is left as it is


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rule": "mode"}, "aggregation = 'mode': valid are mean, median"),
        ({"trimmed_share": 0.5}, "trimmed_share = 0.5: it must be at least 0 and at most 0.49"),
        ({"assumed_malicious": -1}, "assumed_malicious = -1: it must be at least 0"),
    ],
)
def test_arguments_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Aggregation(**changes)


@pytest.mark.slow
@every_algorithm
def test_every_algorithm_trains_with_a_median(make: Callable[..., SplitStrategy]) -> None:
    ours = train(make(aggregation=Aggregation("median")), grid(), 1)
    again = train(make(aggregation=Aggregation("median")), grid(first_node=7), 1)
    assert_same(ours, again)
    is_mean = torch.equal(
        ours.to_torch_state_dict()["stem.weight"], plain(make).after(1).arrays["stem.weight"]
    )
    assert is_mean != make().trains_client_half  # a half that is not trained has no median


MANY = 7  # clients, of which Krum bears two malicious ones and Bulyan one


def of_client(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """Clients have 3, 3, 1, 2, 3, 4 and 5 batches."""
    size = (3, 3, 1, 2, 3, 4, 5)[client.partition_id]
    return islice(small_batches(ClientIdentity(0, MANY), seed, 5), size)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ROBUST)
def test_v1_with_a_rule_is_fed_avg_with_it(rule: str) -> None:
    """Both halves of the model are aggregated by the same rule, and of the same clients."""
    rules = {"aggregation": Aggregation(rule, trimmed_share=0.3)}
    v1, whole = split_fed_v1(**rules), fed_avg(**rules)
    halves = train(v1, grid(MANY, batches=of_client), 2).to_torch_state_dict()
    ours = {**halves, **v1.task.model.server.state_dict()}
    theirs = train(whole, grid(MANY, batches=of_client), 2).to_torch_state_dict()
    assert_same(ours, dict(theirs))


@pytest.mark.slow
def test_a_head_is_of_the_client_that_the_client_half_is_of() -> None:
    nodes = grid(MANY, batches=of_client)
    strategy = cse_fsl(aggregation=Aggregation("krum"))
    averages = {"arrays": train(strategy, nodes, 1).to_torch_state_dict()}
    averages["auxiliary"] = strategy.head.weights
    replies = [reply.array_records for reply in nodes.received if "auxiliary" in reply]
    same = {
        record: [
            all(torch.equal(t, reply[record].to_torch_state_dict()[n]) for n, t in average.items())
            for reply in replies
        ]
        for record, average in averages.items()
    }
    assert same["arrays"] == same["auxiliary"]
    assert same["arrays"].count(True) == 1


def flipped(sent: dict[str, Tensor]) -> Callable[[int, Message], Message]:
    """Return what turns the updates of clients 0 and 1 round."""

    def change(client: int, reply: Message) -> Message:
        if client < 2 and "arrays" in reply.content:
            learnt = reply.content.array_records["arrays"].to_torch_state_dict()
            reply.content["arrays"] = ArrayRecord(
                {
                    name: sent[name] - 4 * (t - sent[name]) if t.is_floating_point() else t
                    for name, t in learnt.items()
                }
            )
        return reply

    return change


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["krum", "multi_krum"])
def test_clients_that_turn_updates_round_are_not_chosen_for_their_number_of_batches(
    rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    """BatchNorm counts batches, and two honest clients differ in that by more than any update."""
    caplog.set_level(logging.INFO, "flwr.fsl_sage")
    strategy = fed_avg(aggregation=Aggregation(rule, assumed_malicious=2))
    sent = dict(strategy.trained.current())
    sent = {name: tensor.cpu().clone() for name, tensor in sent.items()}
    train(strategy, grid(MANY, batches=of_client, tamper=flipped(sent)), 1)
    said = next(line for line in caplog.messages if "averages clients" in line)
    chosen = literal_eval(said.partition("clients ")[2])
    assert len(chosen) == (1 if rule == "krum" else 5)
    assert not {0, 1} & set(chosen)


def test_distances_are_exact_for_small_updates_of_large_weights() -> None:
    """In float32, or as |x|² + |y|² - 2xy, nothing is left of them."""
    draw = np.random.default_rng(0)
    common = draw.normal(size=(50, 40)).astype(np.float32) * 10
    near = [common + draw.normal(size=common.shape).astype(np.float32) * 1e-4 for _ in range(6)]
    trained = [[{"w": torch.from_numpy(w), "n": torch.tensor(10**k)}] for k, w in enumerate(near)]
    rows = np.stack(near).reshape(6, -1).astype(np.float64)
    expected = np.square(rows[:, None] - rows[None]).sum(axis=2)
    np.testing.assert_allclose(squared_distances(trained).numpy(), expected, rtol=1e-12)


def test_bulyan_averages_what_is_nearest_to_the_median() -> None:
    """As Flower's does, of those that it is given."""
    given_states = states(11)
    rule = Aggregation("bulyan", assumed_malicious=2)
    chosen = rule.choose({client: [state] for client, state in enumerate(given_states)})
    assert len(chosen) == 7
    ours = rule.of_states([given_states[client] for client in chosen], [1.0] * 7)["w"]
    stacked = np.stack([given_states[client]["w"].numpy() for client in chosen])
    order = np.abs(stacked - np.median(stacked, axis=0)).argsort(axis=0)
    expected = np.take_along_axis(stacked, order[:3], axis=0).mean(axis=0)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)


def test_a_round_with_too_few_replies_for_the_rule_is_given_up() -> None:
    strategy = cse_fsl(aggregation=Aggregation("krum"), max_failed_rounds=1)
    with pytest.raises(TrainingFailedError, match="3 valid replies, 5 needed"):
        train(strategy, grid(), 1)


# What stands out ------------------------------------------------------------------------


def scaled(record: str, factor: float) -> Callable[[Message], Message]:
    def change(reply: Message) -> Message:
        arrays = reply.content.array_records[record].to_torch_state_dict()
        reply.content[record] = ArrayRecord(
            {n: t * factor if t.is_floating_point() else t for n, t in arrays.items()}
        )
        return reply

    return change


CASES = [
    (name, kind, record)
    for name, kinds in {
        "fed_avg": {"train": ["arrays"]},
        "sl_multi_server": {"train": ["arrays"], "query.split_fed_exchange": ["smashed"]},
        "sl_single_server": {"train": ["arrays"], "query.split_fed_exchange": ["smashed"]},
        "cse_fsl": {"train": ["arrays", "auxiliary", "smashed"]},
        "fsl_sage": {"train": ["arrays"], "query.fsl_sage_probe": ["smashed"]},
        "heron_sfl": {"train": ["arrays"]},
        "split_frozen": {"train": ["smashed"]},
        "cycle_sl": {"query.split_fed_exchange": ["smashed"]},
        "mu_splitfed": {"train": ["arrays"], "query.mu_splitfed_exchange": ["smashed"]},
        "ampere": {"train": ["arrays", "auxiliary"]},
    }.items()
    for kind, records in kinds.items()
    for record in records
]


@pytest.mark.sample
@rows(("name", "kind", "record"), CASES, lambda case: case[0] in ("fed_avg", "cse_fsl", "fsl_sage"))
def test_who_stands_out_is_left_out_as_if_lost(name: str, kind: str, record: str) -> None:
    make = STRATEGIES[name]
    strategy, lost = make(max_update_ratio=20.0), make(max_update_ratio=20.0)
    ours = train(strategy, grid(tamper=in_round(0, 1, scaled(record, 1000.0), kind)), 1)
    assert (
        "times the round's median (robust.max-update-ratio = 20)" in strategy.last_round.failures[1]
    )
    theirs = train(lost, grid(tamper=in_round(0, 1, lambda reply: failing(1)(1, reply), kind)), 1)
    assert_same(ours, theirs)
    assert_same(server_state(strategy), server_state(lost))


@pytest.mark.slow
@every_algorithm
def test_where_nobody_stands_out_no_bit_is_changed(make: Callable[..., SplitStrategy]) -> None:
    strategy = make(max_update_ratio=1e6)
    assert_same(train(strategy, grid(), 2), plain(make).after(2).arrays)
    assert strategy.last_round.failures == {}


@pytest.mark.slow
def test_who_is_huge_in_every_round_does_not_end_the_run() -> None:
    def huge(client: int, reply: Message) -> Message:
        bad = client == 1 and "smashed" in reply.content
        return with_huge("smashed", 3e38)(reply) if bad else reply

    nodes = MemoryGrid(small_app(), CLIENTS, tamper=huge)
    strategy = cse_fsl(max_client_failures=2, pause_rounds=2)
    train(strategy, nodes, 6)
    assert strategy.rounds_done == 6
