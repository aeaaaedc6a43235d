"""Flower's server optimizers make the step from a round's weights towards the average."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi
from torch import Tensor

from fsl_sage_flwr.messages import message_outside_a_run
from fsl_sage_flwr.rounds.aggregation.averaging import average
from fsl_sage_flwr.rounds.aggregation.fed_opt import FedOptOptions, ServerStep
from fsl_sage_flwr.strategies import DivergedError

from ...memory_grid import MemoryGrid
from ...runs import (
    assert_same,
    cse_fsl,
    fed_avg,
    fsl_sage,
    grid,
    split_fed_v1,
    split_frozen,
    train,
    watched,
)
from ...tasks import small_task

MAKERS: dict[str, Callable[[], Any]] = {
    "fedadam": partial(FedAdam, eta=0.01),
    "fedyogi": partial(FedYogi, eta=0.02, beta_1=0.5),
    "fedavgm": partial(FedAvgM, server_momentum=0.9, server_learning_rate=0.7),
    "fedadagrad": partial(FedAdagrad, eta=0.01),
}
ROUNDS = 3


def replies_of(nodes: MemoryGrid, record: str) -> list[RecordDict]:
    """Return the trained weights that clients replied with, as Flower's strategy expects them."""
    return [
        RecordDict(
            {
                "arrays": content.array_records[record],
                "metrics": MetricRecord(
                    {"num-examples": content.metric_records["metrics"]["num-examples"]}
                ),
            }
        )
        for content in nodes.received
        if record in content
    ]


def by_flower(
    flower: Any, before: Mapping[str, Tensor], replies: list[RecordDict], round_: int
) -> dict[str, Tensor]:
    """Return the parameters after the step that Flower's strategy makes of all replies."""
    names = [name for name in before if before[name].is_floating_point()]
    parameters = ArrayRecord({name: before[name] for name in names})
    is_momentum = isinstance(flower, FedAvgM)
    flower.current_arrays = (
        parameters if is_momentum else {n: array.numpy() for n, array in parameters.items()}
    )
    messages: list[Message] = []
    for reply in replies:
        trained = {n: reply.array_records["arrays"][n] for n in names}
        content = {"arrays": ArrayRecord(trained), "metrics": reply.metric_records["metrics"]}
        messages.append(message_outside_a_run(RecordDict(content), 1, "train", 1.0))
    arrays, _ = flower.aggregate_train(round_, messages)
    return {
        name: torch.from_numpy(np.asarray(array.numpy())).float() for name, array in arrays.items()
    }


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.sample
def test_client_half_and_head_take_the_step_of_flowers_own_strategy(name: str) -> None:
    """Flower gets the same replies; buffers keep the clients' average."""
    strategy, nodes = cse_fsl(fed_opt=MAKERS[name]), grid()
    before = {
        "arrays": dict(strategy.initial_arrays().to_torch_state_dict()),
        "auxiliary": dict(strategy.head.weights),
    }
    past = watched(strategy, nodes, ROUNDS)
    trained = {
        "arrays": {n for n, _ in strategy.task.model.client.named_parameters()},
        "auxiliary": {n for n, _ in strategy.task.head.named_parameters()},
    }
    for record, own in (("arrays", "client_half"), ("auxiliary", "head")):
        flower, every = MAKERS[name](), replies_of(nodes, record)
        per_round = len(every) // ROUNDS
        for number in range(ROUNDS):
            left = past.after(number + 1)
            after = left.arrays if own == "client_half" else left.state["head"]["weights"]
            replies = every[number * per_round : (number + 1) * per_round]
            stepped = by_flower(flower, before[record], replies, number + 1)
            mean = average(
                [r.array_records["arrays"].to_torch_state_dict() for r in replies],
                [float(r.metric_records["metrics"]["num-examples"]) for r in replies],  # type: ignore[arg-type]
            )
            expected = {n: stepped[n] if n in trained[record] else mean[n] for n in mean}
            assert_same(after, expected)
            assert any(not torch.equal(mean[n], after[n]) for n in trained[record])
            before[record] = after


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_v1_with_a_server_optimizer_is_fed_avg_with_it(name: str) -> None:
    """The step is made value by value, so the halves take it as the whole model does."""
    v1, whole = split_fed_v1(fed_opt=MAKERS[name]), fed_avg(fed_opt=MAKERS[name])
    halves = train(v1, grid(), 2).to_torch_state_dict()
    ours = {**halves, **v1.task.model.server.state_dict()}
    assert_same(ours, dict(train(whole, grid(), 2).to_torch_state_dict()))


@pytest.mark.slow
def test_heads_that_are_aligned_are_not_averaged_and_take_no_step() -> None:
    strategy = fsl_sage(fed_opt=MAKERS["fedadam"])
    train(strategy, grid(), 2)
    assert strategy.states.keys() == {"server", "heads", "downlink", "client_half_step"}


@pytest.mark.slow
def test_a_warm_starts_head_takes_one_step_and_is_each_clients_first() -> None:
    strategy = fsl_sage(fed_opt=MAKERS["fedadam"], warm_start=True)
    train(strategy, grid(), 2)
    assert strategy.state_dict()["warm_start_step"]["steps"] == 1
    assert strategy.state_dict()["client_half_step"]["steps"] == 2


@pytest.mark.parametrize("name", MAKERS)
def test_a_restored_state_makes_the_same_step(name: str) -> None:
    draw = torch.Generator().manual_seed(1)
    weights = [{"w": torch.randn(4, 3, generator=draw)} for _ in range(4)]
    step, again = (ServerStep(MAKERS[name], {"w"}) for _ in range(2))
    step.step(weights[0], weights[1])
    again.load_state_dict(step.state_dict())
    assert_same(step.step(weights[2], weights[3]), again.step(weights[2], weights[3]))
    again.load_state_dict(ServerStep(MAKERS[name], {"w"}).state_dict())
    fresh = ServerStep(MAKERS[name], {"w"}).step(weights[0], weights[1])
    assert_same(again.step(weights[0], weights[1]), fresh)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_parameter_keeps_its_dtype_and_16_bits_keep_their_moments(dtype: torch.dtype) -> None:
    before, after = {"w": torch.ones(3, dtype=dtype)}, {"w": torch.full((3,), 1.01, dtype=dtype)}
    step = ServerStep(MAKERS["fedadam"], {"w"})
    assert step.step(before, after)["w"].dtype == dtype
    assert step.state_dict()["v_t"]["w"].gt(0).all()


@pytest.mark.slow
def test_momentum_0_and_rate_1_take_the_average() -> None:
    plain, same = fed_avg(), fed_avg(fed_opt=FedAvgM)
    assert_same(train(plain, grid(), 2), train(same, grid(), 2))


def test_a_step_that_is_not_finite_ends_the_run_in_one_line() -> None:
    strategy = cse_fsl(fed_opt=partial(FedAdam, eta=1e39))
    with pytest.raises(DivergedError, match=r"^FedAdam's step leaves values in .*lower fedopt.eta"):
        train(strategy, grid(), 1)
    assert strategy.state_dict()["client_half_step"] == {"steps": 0}  # the round is undone


def test_other_strategies_of_flower_are_refused() -> None:
    with pytest.raises(TypeError, match="fed_opt makes a FedAvg; FedAdagrad, FedAdam, FedAvgM"):
        fed_avg(fed_opt=FedAvg)


@pytest.mark.parametrize("changes", [{"fed_opt": FedAdam}, {"proximal_mu": 0.1}])
def test_clients_that_train_nothing_have_neither(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"clients of SplitFrozen train nothing; leave both out"):
        split_frozen(**changes)


def test_keys_make_flowers_strategy_with_its_arguments() -> None:
    assert FedOptOptions().fed_opt() is None
    adam = FedOptOptions("fedadam", eta=0.3, beta_1=0.1, beta_2=0.2, tau=0.4).fed_opt()
    momentum = FedOptOptions("fedavgm", server_learning_rate=0.5, server_momentum=0.6).fed_opt()
    assert adam is not None
    assert momentum is not None
    made, other = adam(), momentum()
    assert isinstance(made, FedAdam)
    assert isinstance(other, FedAvgM)
    assert (made.eta, made.beta_1, made.beta_2, made.tau) == (0.3, 0.1, 0.2, 0.4)
    assert (other.server_learning_rate, other.server_momentum) == (0.5, 0.6)


def test_the_log_does_not_count_the_average_as_a_reply(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="flwr"):
        train(cse_fsl(fed_opt=MAKERS["fedadam"]), grid(), 1)
    assert not [line for line in caplog.messages if line.startswith("aggregate_train: Received")]


def test_a_frozen_parameter_and_a_buffer_keep_the_average() -> None:
    task = small_task()
    task.model.client.stem.requires_grad_(False)
    strategy = cse_fsl({"model": task.model}, fed_opt=MAKERS["fedadam"])
    assert strategy.trained.parameters().keys() == {"norm.weight", "norm.bias"}
