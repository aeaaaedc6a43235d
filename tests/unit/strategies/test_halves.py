"""What tasks are made of by hand: optimizers with two groups, halves with the same names."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import SplitError, SplitModel
from fsl_sage_flwr.strategies import Ampere, FullModelFedAvg, SplitFedV1, SplitStrategy
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ...memory_grid import MemoryGrid
from ...runs import assert_same, train
from ...tasks import CLASSES, CLIENTS, small_batches, small_task
from .strategy_tables import STRATEGIES


def two_groups(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return SGD without weight decay on biases and norms, as everybody writes it."""
    decayed = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return torch.optim.SGD([{"params": decayed, "weight_decay": 1e-2}, {"params": others}], lr=0.1)


@pytest.mark.sample
@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_a_factory_reads_the_parameters_as_often_as_it_likes(
    make: Callable[..., SplitStrategy],
) -> None:
    factories: dict[str, Any] = dict.fromkeys(
        ("client_optimizer", "server_optimizer", "auxiliary_optimizer"), two_groups
    )
    strategy = make(factories)
    app = build_client_app(lambda context: small_task(**factories))
    before = small_task().model.merged_state_dict()
    rounds = 3 if isinstance(strategy, Ampere) else 1  # one half after the other
    arrays = train(strategy, MemoryGrid(app, CLIENTS), rounds)
    client, server = strategy.model_state(arrays)
    for name in ("norm.weight", "norm.bias", "stem.weight"):
        kept = torch.equal(client[name].cpu(), before[name].cpu())
        assert kept != type(strategy).trains_client_half, name
    for name in ("block.1.weight", "last.2.bias", "last.2.weight"):
        assert not torch.equal(server[name].cpu(), before[name].cpu()), name


def sequentials() -> SplitTask:
    """Return a task whose halves are Sequentials: both have ``0.weight``, of one shape."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        front = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
        back = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(36, CLASSES))
    return SplitTask(
        SplitModel(front, back, cut="1"), torch.zeros(2, 1, 6, 6), CLASSES,
        lambda client, seed: list(small_batches(client, seed)),
    )  # fmt: skip


@pytest.mark.slow
def test_halves_with_the_same_names_stay_two_in_fed_avg() -> None:
    """With one local epoch it equals SplitFed V1."""
    app = build_client_app(lambda context: sequentials())
    split, whole = SplitFedV1(sequentials()), FullModelFedAvg(sequentials())
    ours = split.model_state(train(split, MemoryGrid(app, CLIENTS), 2))
    arrays = train(whole, MemoryGrid(app, CLIENTS), 2)
    theirs = whole.model_state(arrays)
    for half, other in zip(ours, theirs, strict=True):
        assert_same(half, other)
    assert not torch.equal(theirs[0]["0.weight"], theirs[1]["0.weight"])
    batches = list(small_batches(ClientIdentity(0, CLIENTS), 9))
    assert whole.evaluate(arrays, lambda: batches).loss > 0


def test_a_whole_model_has_the_values_of_both_halves() -> None:
    model = sequentials().model
    whole = model.merged_state_dict()
    assert {name.partition(".")[0] for name in whole} == {"client", "server"}
    assert len(whole) == len(model.client.state_dict()) + len(model.server.state_dict())
    client, server = model.client.state_dict(), model.server.state_dict()
    for half, other in zip((client, server), model.parted(whole, client, server), strict=True):
        assert_same(half, other)
    assert "stem.weight" in small_task().model.merged_state_dict()


def test_values_of_one_name_are_not_put_together() -> None:
    model = small_task().model
    one: dict[str, Tensor] = {"adapter": torch.zeros(1)}
    with pytest.raises(SplitError, match="both halves have a tensor named 'adapter'"):
        model.joined(one, dict[str, Any](one))
