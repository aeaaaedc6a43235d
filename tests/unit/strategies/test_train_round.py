"""How an algorithm's ``train_round`` meets Flower's loop, and what is undone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import Message

from fsl_sage_flwr.messages import PackedWeights
from fsl_sage_flwr.state import State, Transaction
from fsl_sage_flwr.strategies import CseFsl, RefusedWorkError, Round, SplitStrategy

from ...golden import by_earlier_names
from ...memory_grid import MemoryGrid
from ...runs import assert_same, cse_fsl, fsl_sage, grid, plain, server_state, split_fed_v1, train
from ...tasks import small_app, small_task
from .strategy_tables import every_answering_strategy


class Wrong(CseFsl):
    """CSE-FSL with another round."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__(small_task())
        self._body = body

    def train_round(self, round_: Round) -> Any:
        return self._body(super().train_round(round_), round_)


def no_last_phase(body: Any, round_: Round) -> Any:
    yield from ()


def two_last_phases(body: Any, round_: Round) -> Any:
    yield from body
    yield from round_.finish({})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (no_last_phase, "train_round ended without `yield from round_.finish"),
        (two_last_phases, "train_round finishes a round once"),
    ],
)
def test_a_round_has_one_last_phase(body: Callable[..., Any], said: str) -> None:
    strategy = Wrong(body)
    before = strategy.state_dict()["server"]
    with pytest.raises(RuntimeError, match=said):
        train(strategy, grid(), 1)
    assert_same(strategy.state_dict()["server"], before)


def test_replies_that_a_round_does_not_look_at_count() -> None:
    def hurried(body: Any, round_: Round) -> Any:
        q = strategy.server_update_interval
        yield from round_.finish(strategy.head.instructions(round_, strategy.message_type, q))

    strategy = Wrong(hurried)
    strategy.states.pop("head")  # nothing is collected for it
    train(strategy, grid(), 1)
    assert strategy.last_round.clients == 3


def test_a_client_at_its_own_pace_gets_a_message() -> None:
    strategy = split_fed_v1()
    exchanging = strategy.train_round

    def forgetful(round_: Round) -> Any:
        round_.send = lambda client, instruction: None  # type: ignore[method-assign]
        yield from exchanging(round_)

    strategy.train_round = forgetful  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"client 0 got no message: call round_\.send"):
        train(strategy, grid(), 1)


class Counter(State):
    """A number and a tensor."""

    def __init__(self) -> None:
        self.number, self.tensor = 0, torch.zeros(2)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "nested": [{"tensor": self.tensor}]}

    def load_state_dict(self, state: Any) -> None:
        self.number, self.tensor = state["number"], state["nested"][0]["tensor"]


def test_a_transaction_restores_as_often_as_is_wanted() -> None:
    one, other = Counter(), Counter()
    undo = Transaction({"one": one, "other": other})
    undo.save()
    for _ in range(2):
        for counter in (one, other):
            counter.number = 7
            counter.tensor += 1
        undo.restore("one")
        assert (one.number, one.tensor.tolist()) == (0, [0, 0])
        assert other.tensor.sum() > 0
    undo.restore()
    assert (other.number, other.tensor.tolist()) == (0, [0, 0])


@pytest.mark.slow
@pytest.mark.usefixtures("still_time")
def test_refused_work_is_undone_with_its_losses() -> None:
    def refusing(body: Any, round_: Round) -> Any:
        q = strategy.server_update_interval
        instructions = strategy.head.instructions(round_, strategy.message_type, q)
        for client, reply in (yield from round_.finish(instructions)):
            with round_.transaction(client, strategy.server):
                strategy.server.step_on_upload(round_, client, reply)
                if client == 1:
                    raise RefusedWorkError("not today")
                strategy.head.collect(client, reply.auxiliary)

    def silent(client: int, reply: Message) -> Message | None:
        return None if client == 1 and "arrays" in reply.content else reply

    strategy = Wrong(refusing)
    ours = train(strategy, MemoryGrid(small_app(), 2), 1)
    lost = CseFsl(small_task(), round_timeout=0.2)
    theirs = train(lost, MemoryGrid(small_app(), 2, tamper=silent), 1)
    assert strategy.last_round.failures == {1: "not today"}
    assert_same(ours, theirs)
    assert strategy.last_round.train_loss == lost.last_round.train_loss


@pytest.mark.slow
@every_answering_strategy
def test_a_checkpoint_from_before_states_had_names_is_read(
    make: Callable[..., SplitStrategy],
) -> None:
    saved = plain(make).after(2).state
    strategy = make()
    if any(name.endswith("_step") for name in strategy.states):
        pytest.skip("versions of that time had no server optimizers")
    strategy.load_state_dict(by_earlier_names(saved))
    assert_same(server_state(strategy), server_state(saved))
    assert strategy.pauses.state_dict() == saved["pauses"]


@pytest.mark.slow
def test_a_head_that_was_sent_is_sent_once() -> None:
    """And again after its round was undone or its client left out, by what nodes hold."""
    strategy = fsl_sage(align_interval=9)
    nodes = grid()
    train(strategy, nodes, 2)
    sent = [content for content in nodes.sent if "auxiliary" in content]
    assert len(sent) == 3
    assert PackedWeights(sent[0].array_records["auxiliary"].to_torch_state_dict())
    assert cse_fsl().states.keys() == {"server", "head", "downlink"}
