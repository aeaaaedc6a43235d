"""What one client sends does not spoil the model for the others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message
from torch import Tensor, nn

from fsl_sage_flwr.rounds.checks.finite_check import FiniteCheck
from fsl_sage_flwr.splitting import SplitModel
from fsl_sage_flwr.strategies import SplitStrategy, TrainingFailedError

from ...rows import rows
from ...runs import assert_same, cse_fsl, fed_avg, grid, train
from ...tasks import one_batch, small_task
from .bad_replies import in_round
from .strategy_tables import ANSWERING

every_answering_strategy = rows(
    "make", ANSWERING.values(), lambda make: make is fed_avg, ids=ANSWERING
)

Change = Callable[[Message], Message]


def with_value(record: str, name: str, value: float) -> Change:
    """Return what puts one value into a tensor of a reply."""

    def change(reply: Message) -> Message:
        arrays = dict(reply.content.array_records[record].to_torch_state_dict())
        arrays[name] = arrays[name].clone()
        arrays[name].view(-1)[0] = value
        reply.content[record] = ArrayRecord(arrays)
        return reply

    return change


def left_out(make: Callable[..., Any], change: Change) -> str:
    """Return why a client is left out that changes its weights in the first round."""
    strategy = make()
    train(strategy, grid(tamper=in_round(0, 1, change), batches=one_batch), 1)
    assert strategy.last_round.clients == 2
    reason: str = strategy.last_round.failures[1]
    return reason


@every_answering_strategy
def test_one_huge_value_of_a_client_half_is_not_taken(make: Callable[..., Any]) -> None:
    reason = left_out(make, with_value("arrays", "stem.weight", 1e30))
    assert reason.startswith("not finite: the weights that it sent have a value of 1e+30 in 'stem")


@pytest.mark.sample
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value("auxiliary", "linear.bias", -1e30), "a value of 1e+30 in 'linear.bias'; at"),
        (with_value("arrays", "norm.running_var", -1.0), "a value of -1 in 'norm.running_var', "),
        (with_value("arrays", "norm.num_batches_tracked", -7), "a value of -7 in 'norm.num_"),
        # Within the bound, and yet the next client's running variance would not be.
        (with_value("arrays", "stem.weight", 1e12), "for random inputs, in training mode"),
    ],
)
def test_what_leaves_the_next_client_no_good_reply_is_not_taken(change: Change, said: str) -> None:
    assert said in left_out(cse_fsl, change)


def parts_of(task: Any, **changes: Tensor) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    half = task.model.client
    return [(half, {**{n: t.clone() for n, t in half.state_dict().items()}, **changes})]


def test_statistics_that_only_an_evaluation_uses_are_tried_too() -> None:
    task = small_task()
    mean, scale = torch.full((4,), -9e17), torch.full((4,), 10.0)
    parts = parts_of(task, **{"norm.running_mean": mean, "norm.weight": scale})
    found = FiniteCheck(task).problem_with_trained(parts)
    assert found is not None
    assert found.endswith("for random inputs, in eval mode")


def test_a_trial_leaves_nothing_behind() -> None:
    """What one client sent is not what the next one is judged by, whatever of it travels."""

    def parameters(module: nn.Module) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in module.named_parameters()}

    def load_parameters(module: nn.Module, weights: Any) -> None:
        module.load_state_dict(weights, strict=False)

    task = small_task(weights_of=parameters, load_weights=load_parameters)
    sound, half = FiniteCheck(task), task.model.client
    before, drawn = dict(half.state_dict()), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in before.items()}
    good = {name: tensor.clone() for name, tensor in parameters(half).items()}
    bad = {**good, "stem.weight": torch.full_like(good["stem.weight"], 1e17)}
    assert sound.problem_with_trained([(half, good)]) is None
    assert sound.problem_with_trained([(half, bad)]) is not None
    assert sound.problem_with_trained([(half, good)]) is None
    assert_same(dict(half.state_dict()), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert half.training


class Masked(nn.Module):
    """A linear layer and a constant that is nearly the largest number."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("mask", torch.full((1,), torch.finfo(torch.float32).min))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs)


def test_a_constant_of_the_models_own_may_be_huge() -> None:
    task = small_task(
        model=SplitModel(Masked(), nn.Linear(4, 3), cut="last"), example=torch.zeros(2, 4)
    )
    sound = FiniteCheck(task)
    assert sound.problem_with_trained(parts_of(task)) is None
    found = sound.problem_with_trained(parts_of(task, mask=torch.full((1,), 3e38)))
    assert found is not None
    assert "'mask'" in found


@pytest.mark.slow
def test_an_average_that_is_not_sound_is_not_kept() -> None:
    """Two clients whose own weights are: one layer huge behind one that is zero."""

    def change(client: int, reply: Message) -> Message:
        if client < 2 and "arrays" in reply.content:
            arrays = dict(reply.content.array_records["arrays"].to_torch_state_dict())
            arrays["stem.weight"] = torch.zeros_like(arrays["stem.weight"])
            arrays["norm.running_mean"] = torch.zeros_like(arrays["norm.running_mean"])
            arrays["norm.weight"] = torch.full_like(arrays["norm.weight"], 9e17)
            reply.content["arrays"] = ArrayRecord(arrays)
        return reply

    strategy: SplitStrategy = cse_fsl()
    before = {name: tensor.clone() for name, tensor in strategy.trained.current().items()}
    with pytest.raises(TrainingFailedError, match="the averaged weights of 3 clients give a value"):
        train(strategy, grid(tamper=change, batches=one_batch), 1)
    assert strategy.last_round.given_up
    assert strategy.last_round.failures == {}
    assert_same(strategy.trained.current(), before)
