"""Every strategy trains every kind of task: what the contract says does not hang on the labels."""

import copy
from functools import cache, partial
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import AlignmentRecipe
from fsl_sage_flwr.strategies import (
    Ampere,
    CseFsl,
    CycleSl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    MuSplitFed,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
)

from ...kinds import KINDS, WITH_TAIL
from ...memory_grid import MemoryGrid, Tamper, error_instead
from ...rows import rows
from ...runs import assert_same, train
from ...tasks import client_of

STRATEGIES: dict[str, Any] = {
    "fed_avg": FullModelFedAvg,
    "sl_multi_server": SplitFedV1,
    "sl_single_server": SplitFedV2,
    "cse_fsl": CseFsl,
    "heron_sfl": HeronSfl,
    "split_frozen": SplitFrozen,
    "cycle_sl": CycleSl,
    "mu_splitfed": MuSplitFed,
    "ampere": partial(Ampere, client_rounds=1),
    "fsl_sage": partial(FslSage, recipe=AlignmentRecipe(2, 6), align_interval=2),
}
every_strategy = rows("name", STRATEGIES, lambda name: name == "fsl_sage")
# Several labels are numbers to all but their objective, which has separate tests.
each = rows("kind", KINDS, lambda kind: kind != "several labels")


def nodes(kind: str, tamper: Tamper | None = None) -> MemoryGrid:
    return MemoryGrid(build_client_app(lambda context: KINDS[kind][0]()), 3, tamper=tamper)


def trained(name: str, kind: str, **changes: Any) -> tuple[Any, ArrayRecord, MemoryGrid]:
    """Train two rounds with federated evaluation."""
    strategy = STRATEGIES[name](KINDS[kind][0](), fraction_evaluate=1.0, **changes)
    grid = nodes(kind)
    return strategy, train(strategy, grid, 2), grid


@cache
def plain(name: str, kind: str) -> tuple[Any, ArrayRecord, MemoryGrid]:
    """Look at it and leave it as it is: tests share it."""
    return trained(name, kind)


@pytest.mark.sample
@each
@every_strategy
def test_it_trains_repeats_and_counts_its_bytes(name: str, kind: str) -> None:
    strategy, arrays, grid = plain(name, kind)
    again, same, _ = trained(name, kind)
    assert_same(arrays, same)
    assert_same(strategy.state_dict(), again.state_dict())
    assert strategy.last_round.failures == {}
    start = STRATEGIES[name](KINDS[kind][0]()).initial_arrays().to_torch_state_dict()
    changed = [not torch.equal(t, start[n]) for n, t in arrays.to_torch_state_dict().items()]
    assert all(changed) if type(strategy).trains_client_half else not any(changed)
    sent = sum(r.count_bytes() for content in grid.sent for r in content.values())
    received = sum(r.count_bytes() for content in grid.received for r in content.values())
    assert strategy.ledger.total == sent + received


@pytest.mark.slow
@each
@pytest.mark.parametrize("keep", [True, False])
def test_v1_is_fed_avg_of_it(kind: str, keep: bool) -> None:
    of = plain if keep else partial(trained, keep_optimizer_state=False)
    split_one, arrays, _ = of("sl_multi_server", kind)
    client, server = split_one.model_state(arrays)
    theirs = of("fed_avg", kind)[1]
    assert_same({n: t for n, t in {**client, **server}.items() if n in theirs}, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_TAIL)
def test_v1_with_labels_that_stay_is_v1_that_is_sent_them(kind: str) -> None:
    make = WITH_TAIL[kind]
    strategy = SplitFedV1(make(tail="last"), fraction_evaluate=1.0)
    federation = MemoryGrid(build_client_app(lambda context: make(tail="last")), 3)
    arrays = train(strategy, federation, 2)
    assert not any("labels" in content for content in federation.received)
    sent, theirs, _ = plain("sl_multi_server", kind)
    strategy.model_state(arrays)
    client, server = sent.model_state(theirs)
    assert_same(strategy.task.model.merged_state_dict(), {**client, **server})
    assert strategy.last_round.validation.loss == pytest.approx(sent.last_round.validation.loss)


@pytest.mark.slow
@each
@every_strategy
def test_the_server_and_the_clients_find_the_same_scores(name: str, kind: str) -> None:
    make, scores = KINDS[kind]
    strategy, arrays, _ = plain(name, kind)
    found = strategy.last_round.validation
    task = make()
    assert task.validation_batches is not None
    clients = list(map(client_of, range(3)))
    batches = [b for c in clients for b in task.validation_batches(c)]
    central = strategy.evaluate(arrays, lambda: batches)
    assert found.num_examples == central.num_examples
    assert set(found.scores) == scores
    assert found.loss == pytest.approx(central.loss, rel=1e-5)
    for score in scores:
        assert found.scores[score].value == pytest.approx(central.scores[score].value, rel=1e-5)
        assert found.scores[score].weight == central.scores[score].weight


BAD_LABELS = {
    "numbers": (torch.tensor(float("nan")), "NaN or infinite"),
    "label maps": (torch.tensor(7), "valid are 0 to 2, and 255"),
    "several labels": (torch.tensor(0.5), "labels must be 0 or 1"),
    "two inputs, a mapping out": (torch.tensor(-1), "valid are 0 to 2"),
    "tokens": (torch.tensor(99), "valid are 0 to 60, and -100"),
}


@pytest.mark.sample
@each
@pytest.mark.parametrize("way", ["value", "dtype", "shape"])
def test_labels_that_are_not_valid_are_refused(kind: str, way: str) -> None:
    value, reason = BAD_LABELS[kind]

    def spoil(partition: int, reply: Message) -> Message:
        if partition == 1 and "labels" in reply.content:
            tensors = dict(reply.content.array_records["labels"].to_torch_state_dict())
            labels = tensors["labels"].clone()
            if way == "value":
                labels.view(-1)[0] = value
            tensors["labels"] = {
                "value": labels, "dtype": labels.half(), "shape": labels[..., None],
            }[way]  # fmt: skip
            reply.content["labels"] = ArrayRecord(tensors)
        return reply

    strategy = STRATEGIES["cse_fsl"](KINDS[kind][0]())
    train(strategy, nodes(kind, spoil), 1)
    said = strategy.last_round.failures[1]
    assert (reason if way == "value" else "labels must be") in said
    assert "\n" not in said


@pytest.mark.slow
@each
@pytest.mark.parametrize("name", ["fsl_sage", "sl_single_server"])
def test_a_client_that_breaks_is_left_out_and_a_run_goes_on_from_a_checkpoint(
    name: str, kind: str
) -> None:
    """A message a round and one a batch; the contract's table has every algorithm.

    The resumed run has lost clients too: they have another round to be back in.
    """
    seen = 0

    def break_once(partition: int, reply: Message) -> Message:
        nonlocal seen
        if partition == 1 and reply.metadata.message_type != "query.describe":
            seen += 1
            return error_instead(reply) if seen == 1 else reply
        return reply

    fresh = {"keep_optimizer_state": False}
    whole = STRATEGIES[name](KINDS[kind][0](), **fresh)
    left: list[Any] = []

    def keep(server_round: int, arrays: ArrayRecord) -> None:
        of_now = arrays.to_torch_state_dict(), whole.state_dict(), whole.last_round.failures
        left.append(copy.deepcopy(of_now))

    whole.start(nodes(kind, break_once), whole.initial_arrays(), num_rounds=2, evaluate_fn=keep)
    (_, _, _), (arrays, state, failed), (expected, at_the_end, none_failed) = left
    assert failed == {1: "error 2: the client broke"}
    assert none_failed == {}
    second = STRATEGIES[name](KINDS[kind][0](), **fresh)
    second.load_state_dict(state)
    assert_same(train(second, nodes(kind), 1, ArrayRecord(arrays)), expected)
    ours, theirs = second.state_dict(), at_the_end
    for one in (ours, theirs):
        one.pop("ledger")  # what nodes knew is sent to new ones again
    assert_same(server_of(ours), server_of(theirs))


def server_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return what does not count how often a head was sent."""
    return {key: value for key, value in state.items() if key.startswith("server_")}
