"""FedProx's term, in every client's steps."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import FedProx
from torch import Tensor, nn

from fsl_sage_flwr.client_apps.split_fed import live_forwards
from fsl_sage_flwr.nodes.proximal_term import ProximalTerm
from fsl_sage_flwr.splitting import ClientPrivacy
from fsl_sage_flwr.strategies import SplitStrategy

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import (
    ampere,
    assert_same,
    cse_fsl,
    cycle_sl,
    fed_avg,
    fsl_sage,
    heron_sfl,
    plain,
    split_fed_v1,
    split_fed_v2,
    train,
)
from ...tasks import CLIENTS, small_app

TRAINING = {
    "fed_avg": fed_avg,
    "sl_multi_server": split_fed_v1,
    "sl_single_server": split_fed_v2,
    "cycle_sl": cycle_sl,
    "cse_fsl": cse_fsl,
    "fsl_sage": fsl_sage,
    "heron_sfl": heron_sfl,
    "ampere": ampere,
}  # MU-SplitFed's few noisy steps show nothing; its parity with a loop has the term
MU = 4.0


def sgd(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


SGD = {"client_optimizer": sgd, "auxiliary_optimizer": sgd, "server_optimizer": sgd}


def nodes(changes: dict[str, Any], **of_grid: Any) -> MemoryGrid:
    return MemoryGrid(small_app(**changes), CLIENTS, **of_grid)


def moved(strategy: SplitStrategy, arrays: ArrayRecord) -> float:
    """Return how far the client half has moved from its initial weights."""
    start, end = (a.to_torch_state_dict() for a in (strategy.initial_arrays(), arrays))
    names = [n for n, _ in strategy.task.model.client.named_parameters()]
    return sum(float((end[n] - start[n]).square().sum()) for n in names) ** 0.5


def test_each_step_follows_the_gradient_of_loss_and_term() -> None:
    """Autograd's gradient of the written-out sum, in float64."""
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 2).double(), nn.Linear(4, 2).double()
    theirs.load_state_dict(ours.state_dict())
    start = [p.detach().clone() for p in ours.parameters()]
    optimizer, other = torch.optim.Adam(ours.parameters()), torch.optim.Adam(theirs.parameters())
    ProximalTerm(optimizer, 0.3)
    for _ in range(5):
        x = torch.randn(8, 4, dtype=torch.float64)
        optimizer.zero_grad()
        ours(x).square().mean().backward()
        optimizer.step()
        other.zero_grad()
        term = sum((p - w).square().sum() for p, w in zip(theirs.parameters(), start, strict=True))
        (theirs(x).square().mean() + 0.15 * term).backward()
        other.step()
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)


def test_a_parameter_without_a_gradient_is_drawn_back_and_a_frozen_one_stays() -> None:
    used, frozen = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2), requires_grad=False)
    optimizer = torch.optim.SGD([used, frozen], lr=1.0)
    ProximalTerm(optimizer, 0.5)
    with torch.no_grad():
        used += 1
        frozen += 1
    optimizer.step()
    assert torch.equal(used.detach(), torch.full((2,), 0.5))
    assert torch.equal(frozen, torch.ones(2))


@rows("make", TRAINING.values(), lambda make: make in (split_fed_v2, fsl_sage), ids=TRAINING)
@pytest.mark.sample
def test_the_term_keeps_every_algorithms_clients_near_the_rounds_weights(
    make: Callable[..., SplitStrategy],
) -> None:
    free, held = make(SGD), make(SGD, proximal_mu=MU)
    far = moved(free, train(free, nodes(SGD), 1))
    near = moved(held, train(held, nodes(SGD), 1))
    assert 0 < near < 0.95 * far


@pytest.mark.slow
def test_a_weight_of_0_changes_no_bit_and_no_message() -> None:
    ours, other = plain(cse_fsl), nodes({})
    arrays = train(cse_fsl(proximal_mu=0.0), other, 1)
    assert_same(ours.after(1).arrays, dict(arrays.to_torch_state_dict()))
    for content in (*ours.nodes.sent, *other.sent):
        assert "proximal-mu" not in content.config_records.get("config", {})


def test_requests_have_the_entry_of_flowers_own_strategy() -> None:
    class NoNodes:
        def get_node_ids(self) -> list[int]:
            return [1, 2]

    config = ConfigRecord()
    flowers = FedProx(proximal_mu=0.25)
    flowers.configure_train(1, ArrayRecord(), config, NoNodes())  # type: ignore[arg-type]
    ours = nodes({})
    train(cse_fsl(proximal_mu=0.25), ours, 1)
    (key,) = set(config) - {"server-round"}
    found = {c.config_records["config"].get(key) for c in ours.sent if "arrays" in c}
    assert found == {config[key]} == {0.25}


@pytest.mark.slow
@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2])
def test_replay_equals_the_live_graph(make: Callable[..., SplitStrategy]) -> None:
    """Another process knows the round's weights, not only those that it resumes with."""

    def change_process(partition: int, reply: Message) -> Message:
        live_forwards.clear()
        return reply

    live, replayed = (make(proximal_mu=MU) for _ in range(2))
    ours = train(live, nodes({}), 2)
    assert_same(ours, train(replayed, nodes({}, tamper=change_process), 2))
    assert_same(live.state_dict()["server"], replayed.state_dict()["server"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16"])
def test_autocast_steps_have_the_term_in_float32(precision: str) -> None:
    setting = {**SGD, "precision": precision}
    free, held = cse_fsl(setting), cse_fsl(setting, proximal_mu=MU)
    far = moved(free, train(free, nodes(setting), 1))
    arrays = train(held, nodes(setting), 1)
    assert moved(held, arrays) < 0.95 * far
    assert {t.dtype for t in arrays.to_torch_state_dict().values()} == {torch.float32, torch.int64}


@pytest.mark.slow
def test_dp_sgd_neither_clips_the_term_nor_adds_noise_to_it() -> None:
    """It depends on no sample: the weights were sent, or are results of noised steps."""
    pytest.importorskip("opacus", reason="the extra privacy is not installed")
    layer = nn.Linear(3, 1, bias=False)
    optimizer = ClientPrivacy(1e-6, 0.0, 4).optimizer(
        layer, torch.optim.SGD(layer.parameters(), lr=1.0)
    )
    ProximalTerm(optimizer, 0.25)
    start: Tensor = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 2.0
    layer(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), start + 1.5, rtol=0, atol=1e-5)
