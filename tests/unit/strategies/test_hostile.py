"""Thousands of malformed and adversarial replies, against every strategy.

None crashes the server; none changes the server half, the heads or the average: what comes out
is what comes out when that client says nothing but an error.
"""

import random
import tracemalloc
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fsl_sage_flwr.messages import BadReplyError, NodeDescription, Reply, ReplySchema
from fsl_sage_flwr.messages.reply import content_of

from ...kinds import KINDS
from ...memory_grid import MemoryGrid, error_instead
from ...runs import app_for, assert_same, grid, grid_for, plain, server_state, train
from ...tasks import CLIENTS
from .mutations import mutate
from .strategy_tables import ALL, WITH_TAILS
from .test_federated_evaluation import WITH_VALIDATION, nodes
from .test_kinds_of_tasks import STRATEGIES as OF_ANY_KIND
from .test_kinds_of_tasks import nodes as of_kind

HOSTILE = 1
FEW, MANY = 15, 150  # mutants of each reply
RUNS = 12  # with a wrong reply

# Each kind of payload, as it is and coded: the other algorithms' replies are made of the same.
PAYLOADS = [
    "cse_fsl", "fsl_sage, coded", "sl_single_server, coded", "split_frozen", "ampere",
    "sl_single_server, labels stay",
]  # fmt: skip
every_payload = pytest.mark.parametrize("name", PAYLOADS)


def copied(content: RecordDict) -> RecordDict:
    """Copy the records; mutations put other arrays and values into them."""
    return RecordDict({name: record.copy() for name, record in content.items()})


def try_mutants(
    strategy: Any,
    draw: random.Random,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    federation: MemoryGrid | None = None,
) -> Counter[str]:
    """Train a round in which every reply is first opened in several wrong forms."""
    refused = Counter[str]()
    opened = Reply.open.__func__  # type: ignore[attr-defined]

    def after_mutants(kind: Any, content: RecordDict, expected: ReplySchema) -> Any:
        for _ in range(0 if kind is NodeDescription else count):
            mutant, said = copied(content), ""
            how = mutate(draw, mutant)
            try:
                opened(kind, content_of(Message(mutant, 1, "train"), 2**20), expected)
            except BadReplyError as error:
                said = str(error)
            assert said, (how, {key: dict(record) for key, record in mutant.items()})
            assert "\n" not in said
            assert len(said) < 400
            refused[how] += 1
        return opened(kind, content, expected)

    monkeypatch.setattr(Reply, "open", classmethod(after_mutants))
    train(strategy, federation or grid(), 1)
    return refused


@pytest.mark.sample
@pytest.mark.parametrize("name", PAYLOADS[:3])
def test_every_wrong_reply_is_refused_in_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other error but a refusal, in one line."""
    assert len(try_mutants(ALL[name](), random.Random(5), FEW, monkeypatch)) >= 12


@pytest.mark.slow
@every_payload
def test_hundreds_of_wrong_replies_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = try_mutants(ALL[name](), random.Random(6), MANY, monkeypatch, grid_for(ALL[name]))
    assert sum(refused.values()) >= 3 * MANY


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["fsl_sage", "sl_single_server"])
def test_wrong_replies_of_any_kind_of_task_are_refused(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = OF_ANY_KIND[name](KINDS[kind][0]())
    refused = try_mutants(strategy, random.Random(8), 100, monkeypatch, of_kind(kind))
    assert len(refused) >= 12


@lru_cache
def without_it(name: str, kind: str) -> tuple[Any, Any]:
    """Return the outcome of two rounds in the first of which the client is broken."""
    return outcome(name, lambda reply: error_instead(reply), kind)[:2]


def outcome(name: str, change: Any, kind: str) -> tuple[Any, Any, Any]:
    seen = 0

    def tamper(partition: int, reply: Message) -> Message:
        nonlocal seen
        if partition == HOSTILE and reply.metadata.message_type == kind:
            seen += 1
            if seen == 1:
                return change(reply)
        return reply

    strategy = ALL[name](max_reply_bytes=2**20)
    arrays = train(strategy, grid_for(ALL[name], tamper=tamper), 2)
    return arrays.to_torch_state_dict(), server_state(strategy), strategy


def kinds_of(name: str) -> list[str]:
    """Return the types of the messages that clients answer with payloads in a first round."""
    past = plain(ALL[name])
    sent = past.nodes.types[: past.after(1).messages]
    return sorted({kind for kind, _ in sent} - {"query.describe"})


@pytest.mark.slow
@every_payload
def test_nothing_of_a_wrong_reply_is_used(name: str) -> None:
    draw, kinds = random.Random(12), kinds_of(name)
    for kind in kinds:
        for _ in range(RUNS // len(kinds)):

            def spoil(reply: Message) -> Message:
                spoil.how = mutate(draw, reply.content)  # type: ignore[attr-defined]
                return reply

            arrays, state, _ = outcome(name, spoil, kind)
            expected_arrays, expected_state = without_it(name, kind)
            assert_same(arrays, expected_arrays)
            assert_same(state, expected_state)


class Doubling(MemoryGrid):
    """Deliver every reply twice, and once more with the next."""

    def pull_messages(self, message_ids: Any) -> Any:
        before = getattr(self, "_before", [])
        found = list(super().pull_messages(message_ids))
        self._before = found
        return [*found, *found, *before]


@pytest.mark.slow
@every_payload
def test_a_duplicate_is_not_counted_twice(name: str) -> None:
    theirs, one = plain(ALL[name]).after(2), ALL[name]()
    ours = train(one, Doubling(app_for(ALL[name]), CLIENTS), 2)
    assert_same(ours.to_torch_state_dict(), theirs.arrays)
    assert_same(server_state(one), theirs.server)


@pytest.mark.slow
@every_payload
def test_a_reply_in_anothers_name_is_its_senders(name: str) -> None:
    def lie(partition: int, reply: Message) -> Message:
        if partition == HOSTILE:
            reply.metadata.__dict__["_src_node_id"] = 1000  # client 0's
        return reply

    theirs, one = plain(ALL[name]).after(2), ALL[name]()
    ours = train(one, grid_for(ALL[name], tamper=lie), 2)
    assert_same(ours.to_torch_state_dict(), theirs.arrays)
    assert_same(server_state(one), theirs.server)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fed_avg", "cse_fsl"])
def test_wrong_replies_to_an_evaluation_are_left_out(name: str) -> None:
    draw, change = random.Random(3), True

    def tamper(partition: int, reply: Message) -> Message:
        if change and partition == HOSTILE and reply.metadata.message_type.startswith("evaluate"):
            how = mutate(draw, reply.content)
            if how in ("add_a_record", "add_a_metric", "blow_up"):  # read past
                return error_instead(reply)
        return reply

    strategy = ALL[name](WITH_VALIDATION, fraction_evaluate=1.0, max_reply_bytes=2**20)
    federation = nodes(tamper=tamper)
    for _ in range(10):
        strategy.start(federation, strategy.initial_arrays(), num_rounds=1)
        assert list(strategy.last_round.failures) == [HOSTILE]
        assert strategy.last_round.validation is not None


@pytest.mark.slow
def test_a_reply_beyond_the_limit_is_let_go_of_unread() -> None:
    large = 30 * 2**20

    def tamper(partition: int, reply: Message) -> Message:
        if partition == HOSTILE and reply.metadata.message_type.startswith("train"):
            reply.content["smashed"] = ArrayRecord({"0": Array(np.zeros(large, dtype=np.uint8))})
        return reply

    strategy = WITH_TAILS["cse_fsl"](max_reply_bytes=2**20)
    federation = grid(tamper=tamper)
    tracemalloc.start()
    try:
        train(strategy, federation, 1)
        federation.received.clear()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert strategy.last_round.failures == {
        HOSTILE: "a reply of 30.0 MiB; at most 1.0 are taken (max-reply-mib)"
    }
    assert held < 10 * 2**20
