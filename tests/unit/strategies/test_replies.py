"""What is held of the replies of a round that is over."""

import gc
import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping

from fsl_sage_flwr.atomic_files import DiskError
from fsl_sage_flwr.rounds import reply_spool as waiting_weights
from fsl_sage_flwr.rounds.reply_spool import ReplySpool, SpooledArray
from fsl_sage_flwr.strategies import SplitStrategy
from fsl_sage_flwr.tensor_store import TensorStore

from ...runs import ROUNDS, assert_same, grid, plain, train, watched
from ...tasks import CLIENTS
from .strategy_tables import STRATEGIES, every_answering_strategy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fed_avg", "fsl_sage"])
def test_no_reply_of_a_round_is_held_in_the_next(name: str) -> None:
    replies = list[weakref.ref[Message]]()
    held = list[int]()

    def tamper(partition: int, reply: Message) -> Message:
        if reply.metadata.message_type.startswith("train"):
            gc.collect()
            held.append(sum(ref() is not None for ref in replies))
            replies.append(weakref.ref(reply))
        return reply

    federation = grid(tamper=tamper)
    clients = len(federation.partition)
    train(STRATEGIES[name](), federation, 2)
    assert held == [*range(clients), *range(clients)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cse_fsl", "fsl_sage"])
def test_what_was_read_of_a_reply_is_let_go_of_without_looking_for_garbage(name: str) -> None:
    arrays = list[weakref.ref[Array]]()
    held = list[int]()

    def tamper(partition: int, reply: Message) -> Message:
        held.append(sum(ref() is not None for ref in arrays))
        for record, values in reply.content.items():
            if isinstance(values, ArrayRecord) and record != "arrays":
                arrays.extend(weakref.ref(array) for array in values.values())
        return reply

    federation = grid(tamper=tamper)
    federation.received = Forgetful()
    gc.collect()
    gc.disable()
    try:
        train(STRATEGIES[name](), federation, 2)
    finally:
        gc.enable()
    clients = len(federation.partition)
    assert arrays
    assert held[-clients] == 0


class Forgetful(list[RecordDict]):
    """Replies without a waiting round."""

    def append(self, content: RecordDict) -> None:
        """Keep nothing."""


@pytest.mark.slow
@every_answering_strategy
def test_weights_that_wait_in_a_file_change_no_bit(
    make: Callable[..., SplitStrategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = plain(make)
    one = ours.strategy.initial_arrays().count_bytes()
    monkeypatch.setattr(waiting_weights, "IN_MEMORY", 1.5 * one)
    filed = list[list[bool]]()
    aggregate = SplitStrategy.aggregate_train

    def look(self: SplitStrategy, server_round: int, replies: Iterable[Message]) -> Any:
        replies = list(replies)
        records = [reply.content.array_records["arrays"] for reply in replies]
        filed.append(
            [all(isinstance(a, SpooledArray) for a in record.values()) for record in records]
        )
        return aggregate(self, server_round, replies)

    monkeypatch.setattr(SplitStrategy, "aggregate_train", look)
    theirs = watched(make(), grid(), ROUNDS)
    assert filed == [[False, *(True for _ in range(CLIENTS - 1))]] * ROUNDS
    assert_same(ours.after(ROUNDS).arrays, theirs.after(ROUNDS).arrays)
    assert_same(ours.after(ROUNDS).server, theirs.after(ROUNDS).server)
    assert [c.update_norm for c in ours.after(ROUNDS).clients] == [
        c.update_norm for c in theirs.after(ROUNDS).clients
    ]


@pytest.mark.slow
def test_wrapper_sees_weights_that_wait_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def clipped() -> ArrayRecord:
        wrapped = STRATEGIES["fsl_sage"]()
        private = DifferentialPrivacyServerSideFixedClipping(wrapped, 0.0, 0.01, CLIENTS)
        nodes = wrapped.wrap_grid(grid())
        arrays = private.start(nodes, wrapped.initial_arrays(), num_rounds=1).arrays
        assert arrays is not None
        return arrays

    ours = clipped()
    monkeypatch.setattr(waiting_weights, "IN_MEMORY", 0)
    assert_same(ours, clipped())


def test_file_goes_with_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_weights, "IN_MEMORY", 0)
    content = RecordDict({"arrays": ArrayRecord([np.arange(5.0), np.zeros(0), np.array(3.0)])})
    before = [array.numpy() for array in content.array_records["arrays"].values()]
    waiting = ReplySpool(TensorStore(tmp_path))
    waiting.add(content)
    held = list(content.array_records["arrays"].values())
    assert open_in(tmp_path) == 1
    assert not list(tmp_path.iterdir())  # a process that is killed leaves nothing
    for array, values in zip(held, before, strict=True):
        np.testing.assert_array_equal(array.numpy(), values)
    waiting.close()
    assert open_in(tmp_path) == 0
    with pytest.raises(RuntimeError, match="the round is over"):
        held[0].numpy()


def test_full_disk_ends_the_run_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_weights, "IN_MEMORY", 0)
    full = Path("/dev/full")
    monkeypatch.setattr(waiting_weights, "TemporaryFile", lambda **_: full.open("r+b", 0))
    strategy = STRATEGIES["fed_avg"]()
    with pytest.raises(DiskError, match=r"cannot be written \(No space left on device\)"):
        train(strategy, grid(), 1)


def open_in(folder: Path) -> int:
    """Return how many files of a folder this process has open, those without a name too."""
    links = (os.readlink(file) for file in os.scandir("/proc/self/fd") if file.is_symlink())
    return sum(link.startswith(f"{folder}/") for link in links)
