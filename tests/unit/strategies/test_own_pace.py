"""SplitFed V1: no client waits for another until its round is over."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import pytest
from flwr.app import Message
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping
from torch import Tensor

from fsl_sage_flwr.client_apps.split_fed import EXCHANGE, FLUSH
from fsl_sage_flwr.rounds.grid import in_flight as under_way
from fsl_sage_flwr.rounds.server import server_half_per_client
from fsl_sage_flwr.strategies import SplitFedV1, TrainingFailedError
from fsl_sage_flwr.tensor_store import TensorFile, TensorStore

from ...memory_grid import MemoryGrid, error_instead
from ...runs import assert_same, grid, server_state, split_fed_v1, train
from ...tasks import CLIENTS, small_app
from .bad_replies import in_round
from .slow_grid import SLOW, SlowGrid

OTHERS = {client for client in range(CLIENTS) if client != SLOW}


class Patient(SlowGrid):
    """The last node answers nothing until all others have been sent their last message."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.slow = self.slow and {client for kind, client in self.types if kind == FLUSH} < OTHERS
        return super().pull_messages(message_ids)


def asked(nodes: MemoryGrid) -> list[tuple[int, str]]:
    return [(client, kind) for kind, client in nodes.types if kind in (EXCHANGE, FLUSH)]


@pytest.mark.slow
def test_who_is_slow_holds_nobody_back() -> None:
    nodes, strategy, plain = Patient(), split_fed_v1(), split_fed_v1()
    arrays = train(strategy, nodes, 1)
    messages = asked(nodes)
    second = [i for i, (client, _) in enumerate(messages) if client == SLOW][1]
    assert {client for client, kind in messages[:second] if kind == FLUSH} == OTHERS
    assert_same(arrays, train(plain, grid(), 1))
    assert_same(server_state(strategy), server_state(plain))
    assert strategy.last_round.train_loss == plain.last_round.train_loss


@pytest.mark.slow
def test_whose_answers_come_first_changes_no_bit() -> None:
    one, other = split_fed_v1(), split_fed_v1()
    backwards = MemoryGrid(small_app(), CLIENTS, backwards=True)
    assert_same(train(one, grid(), 2), train(other, backwards, 2))
    assert_same(server_state(one), server_state(other))
    assert one._round is not None
    assert other._round is not None
    assert one._round.figures.losses == other._round.figures.losses


@pytest.mark.slow
def test_in_a_simulation_one_client_after_the_other_ends_its_round() -> None:
    nodes, strategy = grid(), split_fed_v1()
    strategy.most_at_once = 1
    wrapped = strategy.wrap_grid(nodes)
    wrapped.under_way = under_way.InFlightLimit(cores=1)
    arrays = train(strategy, wrapped, 1)
    assert asked(nodes) == sorted(asked(nodes), key=lambda message: message[0])
    assert_same(arrays, train(split_fed_v1(), grid(), 1))


class Counted(TensorStore):
    """Notes what is written, and what is read of it again."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.read = 0, list[int]()

    def write(self, tensors: Mapping[str, Tensor]) -> TensorFile:
        self.written += 1
        file, folder = super().write(tensors), self

        class Noted(TensorFile):
            def load(self) -> dict[str, Tensor]:
                folder.read.append(len(tensors))
                return file.load()

        return Noted(file.path)


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "files"), [(True, 2), (False, 1)])
def test_halves_go_to_files_once_when_their_clients_have_ended(
    monkeypatch: pytest.MonkeyPatch, keep: bool, files: int
) -> None:
    monkeypatch.setattr(server_half_per_client, "MOST_AT_WORK", 1)
    strategy, folder = split_fed_v1(keep_optimizer_state=keep), Counted()
    strategy.most_at_once = 1
    strategy.keep_files_in(folder)
    wrapped = strategy.wrap_grid(grid())
    wrapped.under_way = under_way.InFlightLimit(cores=1)
    arrays = train(strategy, wrapped, 1)
    # The last one's is in memory when the round ends, and its optimizer's state written then.
    assert folder.written == (CLIENTS - 1) * files + keep
    assert len(folder.read) == CLIENTS - 1
    plain = split_fed_v1(keep_optimizer_state=keep)
    assert_same(arrays, train(plain, grid(), 1))
    assert_same(server_state(strategy), server_state(plain))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_halves_that_wait_in_files_between_batches_have_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    plain = split_fed_v1(keep_optimizer_state=keep)
    arrays = train(plain, grid(), 2)
    monkeypatch.setattr(server_half_per_client, "MOST_AT_WORK", 1)
    strategy, folder = split_fed_v1(keep_optimizer_state=keep), Counted()
    strategy.keep_files_in(folder)
    assert_same(arrays, train(strategy, grid(), 2))
    assert_same(server_state(strategy), server_state(plain))
    assert len(folder.read) > folder.written / 2


@pytest.mark.sample
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_midway_is_not_shown_to_a_strategy_around_this_one(number: int) -> None:
    """Flower's wrappers give a whole round up for one error."""
    nodes = grid(tamper=in_round(number, 1, error_instead, EXCHANGE))
    strategy = split_fed_v1()
    around = DifferentialPrivacyServerSideFixedClipping(strategy, 0.0, 1e6, CLIENTS)
    initial = strategy.initial_arrays()
    around.start(grid=strategy.wrap_grid(nodes), initial_arrays=initial, num_rounds=1)
    assert strategy.last_round.clients == CLIENTS - 1
    assert list(strategy.last_round.failures) == [1]


class Timed(MemoryGrid):
    """Each answer takes this number of seconds, one after the other."""

    now, seconds = 0.0, 1.0

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = list(super().pull_messages(message_ids))
        self.now += sum(
            self.seconds for reply in found if reply.metadata.message_type in (EXCHANGE, FLUSH)
        )
        return found


def timed(monkeypatch: pytest.MonkeyPatch, timeout: float) -> SplitFedV1:
    nodes, strategy = Timed(small_app(), CLIENTS), split_fed_v1(round_timeout=timeout)
    strategy.most_at_once = 1
    monkeypatch.setattr(time, "monotonic", lambda: nodes.now)
    wrapped = strategy.wrap_grid(nodes)
    wrapped.under_way = under_way.InFlightLimit(lambda: 0.0, cores=1)
    with suppress(TrainingFailedError):  # where no client is in time
        train(strategy, wrapped, 1)
    return strategy


@pytest.mark.slow
def test_who_waits_for_a_turn_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client takes a few seconds, all together take longer than the timeout."""
    strategy = timed(monkeypatch, timeout=8.0)
    assert sum(row.seconds for row in strategy.client_rounds()) > 8.0
    assert strategy.last_round.failures == {}


def test_whose_exchanges_take_too_long_together_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = timed(monkeypatch, timeout=1.5)
    assert set(strategy.last_round.failures.values()) == {"its exchanges took longer than 1.5 s"}
