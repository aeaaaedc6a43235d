"""What an operator sees of each client."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord

from fsl_sage_flwr.rounds.metrics.client_round import update_norm
from fsl_sage_flwr.strategies import DivergedError, SplitStrategy

from ...runs import (
    assert_same,
    cse_fsl,
    fed_avg,
    fsl_sage,
    grid,
    plain,
    server_state,
    split_fed_v1,
    split_fed_v2,
    train,
)
from ...tasks import CLIENTS
from .bad_replies import in_round, swallow, with_nan
from .strategy_tables import every_answering_strategy
from .test_federated_evaluation import evaluated


@pytest.mark.slow
@every_answering_strategy
def test_bytes_of_the_clients_are_those_of_the_ledger(make):
    past = evaluated(make)
    first = past.after(1).clients
    assert [row.client for row in first] == list(range(CLIENTS))
    assert {row.node_id: row.client for row in first} == past.nodes.partition
    for before, after in pairwise(past.rounds):
        moved = sum(row.down_bytes + row.up_bytes for row in after.clients)
        assert moved == after.total - before.total
        assert all(row.failure == "" and row.examples > 0 for row in after.clients)


@pytest.mark.sample
@every_answering_strategy
def test_a_bad_client_is_seen(make):
    strategy = make()
    train(strategy, grid(tamper=in_round(0, 1, with_nan)), 1)
    good, bad = strategy.client_rounds()[0], strategy.client_rounds()[1]
    assert (bad.client, bad.examples, bad.update_norm) == (1, None, None)
    assert "holds NaN or infinite" in bad.failure
    assert bad.up_bytes > 0
    assert (good.failure, good.round) == ("", 1)
    assert good.update_norm > 0


@pytest.mark.slow
@every_answering_strategy
def test_bytes_are_of_the_client_that_was_asked_whoever_the_reply_says_it_is_from(make):
    honest = plain(make)
    first = next(iter(honest.nodes.contexts))

    def as_the_first(client, reply):
        reply.metadata.__dict__["_src_node_id"] = first
        return reply

    deceived = make()
    train(deceived, grid(tamper=as_the_first), 1)
    ours, theirs = honest.after(1).clients, deceived.client_rounds()
    assert [row.up_bytes for row in ours] == [row.up_bytes for row in theirs]


@pytest.mark.usefixtures("still_time")
def test_a_client_that_is_silent_has_sent_nothing_and_waited():
    strategy = fed_avg(round_timeout=0.2)
    train(strategy, grid(tamper=in_round(0, 2, swallow)), 1)
    row = strategy.client_rounds()[2]
    assert (row.up_bytes, row.failure) == (0, "no reply within 0.2 s")
    assert row.seconds >= 0.2


def test_an_infinite_value_that_stays_has_not_changed():
    sent = {"mask": np.array([0.0, -np.inf]), "scale": np.array(np.inf), "weight": np.array([1.0])}
    returned = ArrayRecord({name: Array(value) for name, value in sent.items()})
    assert update_norm(sent, returned) == 0.0
    returned["weight"] = Array(np.array([-2.0]))
    assert update_norm(sent, returned) == 3.0


@pytest.mark.sample
@pytest.mark.parametrize("make", [fed_avg, split_fed_v2, fsl_sage])
def test_the_norm_is_of_the_floating_values(make):
    strategy = make()
    returned = {}

    def keep(partition, reply):
        if "arrays" in reply.content:
            returned[partition] = reply.content["arrays"].to_torch_state_dict()
        return reply

    initial = strategy.initial_arrays()
    before = {k: v.clone() for k, v in initial.to_torch_state_dict().items()}
    train(strategy, grid(tamper=keep), 1, initial)
    for row in strategy.client_rounds():
        change = torch.cat(
            [
                (tensor.double() - before[name].double()).flatten()
                for name, tensor in returned[row.client].items()
                if tensor.is_floating_point()
            ]
        )
        assert math.isclose(row.update_norm, change.norm().item(), rel_tol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2, cse_fsl, fsl_sage])
def test_no_finite_loss_of_any_client_ends_the_run_with_the_state_of_before(make):
    def too_large(partition, reply):
        """Finite smashed data, and a loss that is not."""
        if server_rounds and "smashed" in reply.content:
            tensors = reply.content["smashed"].to_torch_state_dict()
            huge = {name: torch.full_like(tensor, 3e38) for name, tensor in tensors.items()}
            reply.content["smashed"] = ArrayRecord(huge)
        return reply

    strategy: SplitStrategy = make()
    states, server_rounds = [], []

    def each_round(server_round, arrays):
        states.append(copy.deepcopy(server_state(strategy)))
        if server_round:
            server_rounds.append(server_round)

    said = r"round 2 gave no finite value for any .*loss is (nan|inf) on a batch of it.*Lower"
    with pytest.raises(DivergedError, match=said):
        strategy.start(
            grid(tamper=too_large), strategy.initial_arrays(), num_rounds=3, evaluate_fn=each_round
        )
    assert server_rounds == [1]
    assert_same(server_state(strategy), states[-1])
