"""What is done with a strategy's arguments, and with what its caller hands over."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from fsl_sage_flwr.rounds.grid.reply_stream import ReplyStream
from fsl_sage_flwr.rounds.threads import all_threads
from fsl_sage_flwr.strategies import (
    Instruction,
    SplitStrategy,
    TrainingFailedError,
    evaluate_halves,
)

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import assert_same, cse_fsl, fed_avg, fsl_sage, grid, split_fed_v1, split_fed_v2, train
from ...tasks import CLIENTS, small_app, small_task
from .strategy_tables import SOME, STRATEGIES

every_strategy = rows("make", STRATEGIES.values(), lambda make: make in SOME, ids=STRATEGIES)


@every_strategy
@pytest.mark.parametrize("name", ["arrayrecord_key", "configrecord_key", "fracton_train"])
def test_an_argument_that_there_is_not_is_named(
    make: Callable[..., SplitStrategy], name: str
) -> None:
    """Flower's keys of records are no arguments here: the clients would not know them."""
    with pytest.raises(TypeError, match=f"has no argument '{name}'") as refused:
        make(**{name: "x", "others": 1})
    assert str(refused.value).count(name) == 1


def weigh(message: Message, context: Context, call_next: Any) -> Message:
    """Add a metric to be weighted by: more for a client with a higher number."""
    reply = call_next(message, context)
    partition = int(context.node_config["partition-id"])
    reply.content.metric_records["metrics"]["importance"] = float(1 + partition)
    return reply


@pytest.mark.slow
def test_everything_is_weighted_by_the_key_that_is_given() -> None:
    """V1 is FedAvg with any weights: the server halves are averaged with the same ones."""

    def nodes(key: bool) -> MemoryGrid:
        return MemoryGrid(small_app(train_mods=[weigh] if key else None), CLIENTS)

    weighted = {"weighted_by_key": "importance"}
    split, whole = split_fed_v1(**weighted), fed_avg(**weighted)
    client, server = split.model_state(train(split, nodes(True), 2))
    ours = {**client, **server}
    assert_same(ours, train(whole, nodes(True), 2))
    assert [row.examples for row in split.client_rounds()] == [1, 2, 3]
    by_examples = train(fed_avg(), nodes(False), 2).to_torch_state_dict()
    assert not torch.equal(ours["stem.weight"], by_examples["stem.weight"])


def test_a_reply_without_the_key_is_left_out_with_the_reason() -> None:
    strategy = fed_avg(weighted_by_key="importance", max_failed_rounds=9)
    with pytest.raises(TrainingFailedError, match="no round was trained"):
        train(strategy, grid(), 1)
    assert set(strategy.last_round.failures.values()) == {
        "'importance' is missing among the metrics"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "timeout"), [({}, 7200.0), ({"timeout": 60.0}, 60.0), ({"timeout": 1e5}, 7200.0)]
)
def test_a_round_has_the_time_that_is_given(
    given: dict[str, Any], timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float | None] = []
    made = ReplyStream.__init__

    def watched(self: Any, *given: Any, timeout: float | None = None, **more: Any) -> None:
        waited.append(timeout)
        made(self, *given, timeout=timeout, **more)

    monkeypatch.setattr(ReplyStream, "__init__", watched)
    strategy = fed_avg(round_timeout=7200.0)
    strategy.start(grid(), strategy.initial_arrays(), num_rounds=1, **given)
    assert waited[1] == timeout  # after the descriptions


@pytest.mark.sample
@every_strategy
def test_the_callers_configuration_is_not_written_into(make: Callable[..., SplitStrategy]) -> None:
    strategy, nodes = make(), grid()
    mine = ConfigRecord({"mine": 1})
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=1, train_config=mine)
    assert dict(mine) == {"mine": 1}
    sent = [c.config_records["config"] for c in nodes.sent if "config" in c]
    assert {record["server-round"] for record in sent if "mine" in record} == {1}


class BrokenError(RuntimeError):
    pass


def breaks(*_: Any) -> Any:
    raise BrokenError


def test_threads_are_as_before_when_an_evaluation_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsl_sage_flwr.rounds.metrics.evaluation.all_threads", all_threads)
    task = small_task()
    task.model.server.forward = breaks  # type: ignore[method-assign]
    before = torch.get_num_threads()
    half = fed_avg().initial_arrays()
    client = {k: v for k, v in half.to_torch_state_dict().items() if k in
              task.model.client.state_dict()}  # fmt: skip
    with pytest.raises(BrokenError):
        evaluate_halves(task, type(half)(client), lambda: [(torch.zeros(2, 1, 6, 6),
                                                           torch.zeros(2).long())])  # fmt: skip
    assert torch.get_num_threads() == before
    assert task.model.client.training


def test_threads_are_as_before_when_an_alignment_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsl_sage_flwr.rounds.server.aligning.align", breaks)
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    kept: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", kept.append)
    with pytest.raises(BrokenError):
        train(fsl_sage(), grid(), 1)
    assert kept[-1] == 7


class Accountant:
    """As much of Flower's privacy accountant as the refusal looks at."""

    def __init__(self) -> None:
        from flwr.supercore.privacy_accounting import SamplingMethod

        self.config = type("C", (), {"sampling_method": SamplingMethod.NO_AMPLIFICATION})()


@pytest.mark.slow
@every_strategy
def test_flowers_accounting_is_refused_by_flower(make: Callable[..., SplitStrategy]) -> None:
    """An epsilon would leave out smashed data, labels and heads: docs/explanation/privacy.md."""
    with pytest.raises(ValueError, match=r"a strategy using FedAvg\.aggregate_train"):
        DifferentialPrivacyServerSideFixedClipping(
            make(),
            1.0,
            1.0,
            3,
            accountant=Accountant(),  # type: ignore[arg-type]
        )
    assert make().aggregate_train.__func__ is not FedAvg.aggregate_train  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "wrong", "why"),
    [
        (split_fed_v2, {"server_order": "clients"}, "server_order = 'clients': valid are batch, "),
        (split_fed_v1, {"batches_per_exchange": 0}, "batches_per_exchange = 0: it must be at"),
        (cse_fsl, {"server_update_interval": 0}, "server_update_interval = 0: it must be at least"),
        (fsl_sage, {"align_interval": 0}, "align_interval = 0: it must be at least 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_at_once(
    make: Callable[..., SplitStrategy], wrong: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        make(**wrong)


@pytest.mark.slow
@every_strategy
def test_a_closed_round_keeps_figures_alone(make: Callable[..., SplitStrategy]) -> None:
    strategy = make()
    train(strategy, grid(), 1)
    assert strategy._round is not None
    round_ = strategy._round.round
    kept = [value for value in vars(round_).values() if isinstance(value, dict)]
    assert not any(isinstance(item, Instruction) for value in kept for item in value.values())
    assert (round_.undo_states._saved, len(round_.client_half)) == ({}, 0)
    assert round_.last_phase is not None
    assert round_.last_phase.instructions == {}
    assert [row.client for row in strategy.client_rounds()] == [0, 1, 2]
