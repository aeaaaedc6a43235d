"""What every strategy must keep, in one table."""

import copy
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvgM,
    FedYogi,
)

from fsl_sage_flwr.compression import PRESETS
from fsl_sage_flwr.strategies import AsyncOptions, SplitStrategy, TrainingFailedError
from fsl_sage_flwr.task import Batch, ClientIdentity

from ...memory_grid import MemoryGrid, error_instead
from ...rows import rows
from ...runs import (
    ROUNDS,
    ampere,
    app_for,
    assert_same,
    cse_fsl,
    cycle_sl,
    fed_avg,
    fsl_sage,
    grid_for,
    heron_sfl,
    mu_splitfed,
    plain,
    server_state,
    split_fed_v1,
    split_fed_v2,
    split_frozen,
    train,
    watched,
)
from ...tails import u_shaped_v1, u_shaped_v2
from ...tasks import CLIENTS, one_batch, small_batches, two_batches
from .bad_replies import BAD_REPLIES, cut_short, fail, in_round, swallow, with_nan

STRATEGIES: dict[str, Callable[..., SplitStrategy]] = {
    "fed_avg": fed_avg,
    "sl_multi_server": split_fed_v1,
    "sl_single_server": split_fed_v2,
    "cse_fsl": cse_fsl,
    "fsl_sage": fsl_sage,
    "fsl_sage, warm start": partial(fsl_sage, warm_start=True),
    "fsl_sage, two heads": partial(fsl_sage, auxiliary_groups=2),
    "heron_sfl": heron_sfl,
    "cycle_sl": cycle_sl,
    "mu_splitfed": mu_splitfed,
    "ampere": ampere,
    "split_frozen": split_frozen,
    "cse_fsl, pooled": partial(cse_fsl, server_pool=True),
    "fed_avg, fedavgm": partial(fed_avg, fed_opt=partial(FedAvgM, server_momentum=0.9)),
    "sl_multi_server, fedyogi": partial(split_fed_v1, fed_opt=partial(FedYogi, eta=0.01)),
    "cse_fsl, fedadam": partial(cse_fsl, fed_opt=partial(FedAdam, eta=0.01), proximal_mu=0.1),
}
# Their clients have the model's tail: nodes for them are those of `grid_for`.
WITH_TAILS: dict[str, Callable[..., SplitStrategy]] = {
    **STRATEGIES,
    "sl_multi_server, labels stay": u_shaped_v1,
    "sl_single_server, labels stay": u_shaped_v2,
}
# Each kind of message, of payload and of state is in one of these; CI has all rows.
SOME = [STRATEGIES[name] for name in ("fed_avg", "sl_single_server", "cse_fsl", "fsl_sage")]

# Each kind of message with everything coded that travels.
CODED = {
    f"{name}, coded": partial(WITH_TAILS[name], compression=PRESETS["strong"])
    for name in (
        "sl_single_server", "cse_fsl", "fsl_sage", "ampere", "split_frozen",
        "sl_multi_server, labels stay",
    )
}  # fmt: skip

# Those that may merge replies in a later round, with a buffer that waits for all: a run is then
# the same, and every test of the table holds.
MAY_BE_LATE = ("fed_avg", "cse_fsl", "fsl_sage", "heron_sfl")
BUFFERED = {
    f"{name}, buffer": partial(STRATEGIES[name], asynchrony=AsyncOptions(buffer=CLIENTS))
    for name in MAY_BE_LATE
}
GENERATED = "cse_fsl, buffer, generated"
BUFFERED[GENERATED] = partial(cse_fsl, asynchrony=AsyncOptions(buffer=CLIENTS, generate=9))

# A message a round with most payloads, and a message a batch: for what depends on messages alone.
TWO = [STRATEGIES[name] for name in ("sl_single_server", "fsl_sage")]
every_strategy = rows("make", STRATEGIES.values(), lambda make: make in TWO, ids=STRATEGIES)
with_tails_too = rows("make", WITH_TAILS.values(), lambda make: make in TWO, ids=WITH_TAILS)
# Those whose clients answer with a trained half in every round.
ANSWERING = {n: make for n, make in STRATEGIES.items() if n not in ("split_frozen", "ampere")}
every_answering_strategy = rows("make", ANSWERING.values(), lambda make: make in TWO, ids=ANSWERING)
ALL = {**WITH_TAILS, **CODED, **BUFFERED}
# One message a round with all kinds of payload but one, and a message a batch with that one.
FEW_CODED = [CODED["fsl_sage, coded"], CODED["sl_single_server, coded"]]
# HERON-SFL's messages and state are CSE-FSL's, CycleSL's are V2's, a warm start's and shared
# heads' are FSL-SAGE's.
HERE = [*FEW_CODED, *SOME, STRATEGIES["sl_multi_server"]]
every_payload = rows("make", ALL.values(), lambda make: make in HERE, ids=ALL)
# CSE-FSL alone averages heads and keeps two optimizers on a client.
AS_SENT = [*FEW_CODED, STRATEGIES["cse_fsl"], BUFFERED["cse_fsl, buffer"]]
coded_too = rows("make", ALL.values(), lambda make: make in AS_SENT, ids=ALL)
# For tests that repeat one another where payloads are coded or may be late: one row of each.
ONCE_CODED = {
    **WITH_TAILS, **{name: ALL[name] for name in ("fsl_sage, coded", "cse_fsl, buffer")}
}  # fmt: skip
once_coded = rows("make", ONCE_CODED.values(), lambda make: make in TWO, ids=ONCE_CODED)

# A reply without weights has its smashed data cut short.
CUT_SHORT = {"split_frozen, coded": "smashed data 0: its values are not the 648 bytes"}
BAD_REPLY_CASES = [
    pytest.param(
        ALL[name], kind, change, reason, id=f"{name}-{kind}-{case}",
        marks=[] if name == "cse_fsl" else pytest.mark.slow,
    )
    for name, kinds in BAD_REPLIES.items()
    for kind, cases in kinds.items()
    for case, (change, reason) in cases.items()
] + [
    pytest.param(
        make, "train", cut_short,
        CUT_SHORT.get(name, "record 'arrays' cannot be read: array "),
        id=name, marks=[] if make in FEW_CODED else pytest.mark.slow,
    )
    for name, make in CODED.items()
    if name != "fsl_sage, coded"
]  # fmt: skip
FEW_LATE = [("cse_fsl", "NaN"), ("cse_fsl", "infinite step"), ("fsl_sage", "error")]
LATE_REPLY_CASES = [
    pytest.param(
        STRATEGIES[name], change, reason, id=f"{name}-{case}",
        marks=[] if (name, case) in FEW_LATE else pytest.mark.slow,
    )
    for name in MAY_BE_LATE
    for case, (change, reason) in BAD_REPLIES[name]["train"].items()
    if (name, case) != ("fsl_sage", "missing record")  # in the first round the probe brought it
]  # fmt: skip


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


def skip_where_one_reply_is_all(make: Callable[..., Any]) -> None:
    if not make().trains_client_half:
        pytest.skip("no second reply to spoil; test_split_frozen.py spoils the first")


@lru_cache
def without_an_answer(make: Callable[..., Any], kind: str, number: int, rounds: int) -> Any:
    """Return what a run leaves in which a client's n-th reply never came."""
    strategy = make(round_timeout=0.1)
    tamper = in_round(number, 1, swallow, kind)
    arrays = train(strategy, grid_for(make, tamper=tamper, batches=two_batches), rounds)
    assert strategy.last_round.failures == {1: "no reply within 0.1 s"}
    return copy.deepcopy((arrays.to_torch_state_dict(), server_state(strategy)))


@pytest.mark.usefixtures("still_time")
@pytest.mark.parametrize(("make", "kind", "change", "reason"), BAD_REPLY_CASES)
@pytest.mark.sample
def test_bad_reply_is_left_out_with_its_reason(
    make: Callable[..., Any], kind: str, change: Callable[..., Any], reason: str
) -> None:
    """It must change nothing: the round goes as if that client had never answered."""
    # In FSL-SAGE's first round an upload may be missing: the probe brought it.
    probes = make in (fsl_sage, BUFFERED["fsl_sage, buffer"])
    number, rounds = (1, 2) if probes else (0 if kind == "train" else 1, 1)
    strategy = make(round_timeout=0.5)
    tamper = in_round(number, 1, change, kind)
    arrays = train(strategy, grid_for(make, tamper=tamper, batches=two_batches), rounds)
    assert reason in strategy.last_round.failures[1]
    assert strategy.last_round.clients == 2
    theirs, their_server = without_an_answer(make, kind, number, rounds)
    assert_same(arrays, dict(theirs))
    assert_same(server_state(strategy), their_server)


def three_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """All clients have three: with FSL-SAGE the first is the probe's, and the last is uploaded."""
    return small_batches(replace(client, num_partitions=CLIENTS + 1), seed, 3)


@pytest.mark.usefixtures("still_time")
@pytest.mark.sample
@pytest.mark.parametrize(("make", "change", "reason"), LATE_REPLY_CASES)
def test_bad_reply_that_is_late_is_left_out_with_its_reason(
    make: Callable[..., Any], change: Callable[..., Any], reason: str
) -> None:
    """Its round ended with the other clients'; the next one goes as if it had never arrived.

    Where it shows only in a step that it is bad, it has ended that round in another's place.
    """
    slow, next_one = CLIENTS - 1, CLIENTS - 2
    silent = [in_round(0, slow, swallow)]
    if reason.startswith("not finite"):
        silent.append(in_round(1, next_one, swallow))
    ends = []
    for tampers in ([in_round(0, slow, change)], silent):

        def tamper(client: int, reply: Message, each: Any = tampers) -> Message | None:
            for change_one in each:
                reply = reply and change_one(client, reply)
            return reply

        strategy = make(asynchrony=AsyncOptions(buffer=2), round_timeout=0.5)
        past = watched(strategy, grid_for(make, tamper=tamper, batches=three_batches), 2)
        ends.append((past.after(2).arrays, past.after(2).server))
        if tampers is not silent:
            assert past.after(1).summary.failures == {}
            assert list(past.after(2).summary.failures) == [slow]
            # After one of three batches already the loss may show what the second would.
            said = "not finite: " if reason.startswith("not finite") else reason
            assert said in past.after(2).summary.failures[slow]
    assert_same(*ends)


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


@with_tails_too
def test_grid_must_be_wrapped_in_a_wrapper_strategy(make: Callable[..., Any]) -> None:
    strategy = make()
    private = DifferentialPrivacyServerSideFixedClipping(strategy, 0.0, 1e6, 3)
    with pytest.raises(TypeError, match=r"start\(grid=strategy.wrap_grid\(grid\)"):
        private.start(grid_for(make), strategy.initial_arrays(), num_rounds=1)


@pytest.mark.sample
@with_tails_too
def test_flowers_differential_privacy_wraps_around(make: Callable[..., Any]) -> None:
    """With no noise and a clip that clips nothing, it changes only what rounding changes."""
    ours, wrapped = plain(make).after(1).arrays, make()
    private = DifferentialPrivacyServerSideFixedClipping(wrapped, 0.0, 1e6, 3)
    result = private.start(
        wrapped.wrap_grid(grid_for(make)), wrapped.initial_arrays(), num_rounds=1
    )
    theirs = result.arrays.to_torch_state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@once_coded
def test_round_that_a_wrapper_gives_up_is_undone(make: Callable[..., Any]) -> None:
    """Flower's wrapper drops a round with any failure and never calls aggregate_train."""
    skip_where_one_reply_is_all(make)
    shorter, wrapped = make(), make()
    for strategy, rounds in ((shorter, 1), (wrapped, 2)):
        private = DifferentialPrivacyServerSideFixedClipping(strategy, 0.0, 1e6, 3)
        nodes = grid_for(make, tamper=in_round(1, 1, fail))
        private.start(strategy.wrap_grid(nodes), strategy.initial_arrays(), num_rounds=rounds)
    wrapped._undo_unfinished()
    ours_left, theirs_left = server_state(wrapped), server_state(shorter)
    assert (ours_left.pop("rounds_done"), theirs_left.pop("rounds_done")) == (2, 1)
    assert_same(ours_left, theirs_left)


@pytest.mark.slow
@with_tails_too
def test_three_rounds_that_a_wrapper_drops_end_the_run(make: Callable[..., Any]) -> None:
    def broken(partition: int, reply: Message) -> Message:
        trains = reply.metadata.message_type.startswith("train")
        return fail(reply) if trains and partition == 1 else reply

    wrapped = make()
    private = DifferentialPrivacyServerSideFixedClipping(wrapped, 0.0, 1e6, 3)
    nodes = wrapped.wrap_grid(grid_for(make, tamper=broken, batches=one_batch))
    with pytest.raises(TrainingFailedError, match=r"dropped it \(client 1: error 2"):
        private.start(nodes, wrapped.initial_arrays(), num_rounds=9)


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
