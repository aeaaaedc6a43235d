"""A bad reply of any kind is left out with its reason, and changes nothing."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from flwr.app import Message

from fsl_sage_flwr.strategies import AsyncOptions
from fsl_sage_flwr.task import Batch, ClientIdentity

from ...runs import assert_same, fsl_sage, grid_for, server_state, train, watched
from ...tasks import CLIENTS, small_batches, two_batches
from .bad_replies import BAD_REPLIES, cut_short, in_round, swallow
from .strategy_tables import ALL, BUFFERED, CODED, FEW_CODED, MAY_BE_LATE, STRATEGIES

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
