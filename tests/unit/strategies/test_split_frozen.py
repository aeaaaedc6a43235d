"""SplitFrozen: smashed data go up once, and what that changes in a round."""

import pytest
import torch
from flwr.app import Message
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping

from fsl_sage_flwr.compression import PRESETS
from fsl_sage_flwr.strategies import Aggregation, SplitFrozen, TrainingFailedError

from ...memory_grid import MemoryGrid
from ...runs import ROUNDS, assert_same, grid, plain, server_state, split_frozen, train
from .bad_replies import cut_short, fail, in_round, with_huge
from .test_batch_limits import bringing
from .test_federated_evaluation import WITH_VALIDATION
from .test_federated_evaluation import nodes as evaluated_nodes


def asked(nodes: MemoryGrid) -> list[int]:
    return [client for kind, client in nodes.types if kind.startswith("train")]


def pooled(strategy: SplitFrozen) -> list[int]:
    return strategy.pool.clients


def test_a_client_whose_data_are_kept_gets_no_further_byte() -> None:
    past = plain(split_frozen)
    assert asked(past.nodes) == [0, 1, 2]
    first, *others = (past.after(number) for number in range(1, ROUNDS + 1))
    assert all(row.down_bytes > 0 and row.up_bytes > 0 for row in first.clients)
    for later in others:
        assert later.total == first.total
        assert [row.down_bytes + row.up_bytes for row in later.clients] == [0, 0, 0]
        assert later.summary.clients == 3


def test_the_server_half_alone_is_trained() -> None:
    past, new = plain(split_frozen), split_frozen()
    assert_same(past.after(ROUNDS).arrays, new.initial_arrays().to_torch_state_dict())
    for number in range(2, ROUNDS + 1):
        before, after = (past.after(n).server["server"]["half"] for n in (number - 1, number))
        assert all(not torch.equal(before[name], tensor) for name, tensor in after.items())


def test_who_fails_in_its_first_round_is_asked_again() -> None:
    strategy, nodes = split_frozen(), grid(tamper=in_round(0, 1, fail))
    train(strategy, nodes, 1)
    assert strategy.last_round.clients == 2
    assert pooled(strategy) == [0, 2]
    train(strategy, nodes, 2)
    assert asked(nodes) == [0, 1, 2, 1]
    assert strategy.last_round.clients == 3
    assert pooled(strategy) == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["none", "strong"])
def test_a_first_round_that_is_given_up_keeps_nobodys_data(codes: str) -> None:
    strategy = split_frozen(min_train_nodes=3, compression=PRESETS[codes])
    spoil = cut_short if codes == "strong" else with_huge("smashed", 3e38)
    nodes = grid(tamper=in_round(0, 1, spoil))
    before = server_state(split_frozen(compression=PRESETS[codes]))
    with pytest.raises(TrainingFailedError, match="no round was trained"):
        train(strategy, nodes, 1)
    assert pooled(strategy) == []
    ours = server_state(strategy)
    assert (ours.pop("rounds_done"), before.pop("rounds_done")) == (1, 0)
    assert_same(ours, before)
    train(strategy, nodes, 1)
    assert asked(nodes) == [0, 1, 2, 0, 1, 2]


def test_a_first_round_that_a_wrapper_gives_up_keeps_nobodys_data() -> None:
    wrapped, nodes = split_frozen(), grid(tamper=in_round(0, 1, fail))
    private = DifferentialPrivacyServerSideFixedClipping(wrapped, 0.0, 1e6, 3)
    private.start(wrapped.wrap_grid(nodes), wrapped.initial_arrays(), num_rounds=1)
    wrapped._undo_unfinished()
    assert pooled(wrapped) == []


@pytest.mark.slow
def test_kept_clients_count_for_min_train_nodes() -> None:
    strategy, nodes = split_frozen(min_train_nodes=3), grid()
    train(strategy, nodes, 3)
    assert strategy.rounds_done == 3
    assert asked(nodes) == [0, 1, 2]


@pytest.mark.slow
def test_with_a_fraction_each_client_is_asked_in_its_first_round() -> None:
    strategy, nodes = split_frozen(fraction_train=0.4), grid()
    seen: list[tuple[list[int], list[int]]] = []

    def note(server_round: int, arrays: object) -> None:
        if server_round:
            seen.append(([row.client for row in strategy.client_rounds()], asked(nodes)))

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=9, evaluate_fn=note)
    for number, (clients, sent) in enumerate(seen):
        known = list(dict.fromkeys(c for earlier, _ in seen[: number + 1] for c in earlier))
        assert len(clients) == 1
        assert sent == known
    assert sorted(asked(nodes)) == [0, 1, 2]


@pytest.mark.sample
@pytest.mark.parametrize("rule", ["median", "krum", "multi_krum", "bulyan"])
def test_a_rule_has_nothing_to_average_or_to_choose(rule: str) -> None:
    """So it needs no number of clients either."""
    strategy = split_frozen(aggregation=Aggregation(rule))
    ours = train(strategy, grid(), ROUNDS)
    theirs = plain(split_frozen).after(ROUNDS)
    assert_same(ours, theirs.arrays)
    assert_same(server_state(strategy), theirs.server)


@pytest.mark.slow
@pytest.mark.parametrize("value", [1e25, 3e38])
def test_who_is_not_finite_does_not_end_a_run_of_kept_data(value: float) -> None:
    def huge(client: int, reply: Message) -> Message:
        bad = client == 1 and "smashed" in reply.content
        return with_huge("smashed", value)(reply) if bad else reply

    strategy, lost = split_frozen(max_client_failures=0), split_frozen(max_client_failures=0)
    train(strategy, grid(tamper=huge), ROUNDS)
    assert list(strategy.last_round.failures) == [1]
    assert strategy.last_round.clients == 2

    def fails(client: int, reply: Message) -> Message:
        return fail(reply) if client == 1 and "smashed" in reply.content else reply

    train(lost, grid(tamper=fails), ROUNDS)
    assert_same(server_state(strategy), server_state(lost))


def test_two_passes_of_samples_are_refused() -> None:
    strategy = split_frozen({"local_epochs": 2})
    train(strategy, grid(tamper=bringing(*(6,) * 5)), 1)
    assert "30 examples uploaded, of 15 in each of 1 epochs" in strategy.last_round.failures[1]


@pytest.mark.slow
def test_clients_evaluate_in_every_round() -> None:
    strategy, nodes = split_frozen(WITH_VALIDATION, fraction_evaluate=1.0), evaluated_nodes()
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=3)
    losses = [result.evaluate_metrics_clientapp[t]["validation-loss"] for t in (1, 2, 3)]
    assert len(set(losses)) == 3
    assert asked(nodes) == [0, 1, 2]
