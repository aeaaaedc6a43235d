"""Tensors that a forward makes, reads or changes beside its modules."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitError, build_auxiliary, split
from fsl_sage_flwr.splitting.inputs import as_tensors


class Positions(nn.Module):
    """Constants made in the forward, in front of the cut and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x) * torch.arange(4)
        return self.out(self.second(x) + torch.eye(4)[1])


@pytest.mark.parametrize("at", ["second", "out"])
def test_constants_of_the_forward_are_in_the_halves_that_use_them(at: str) -> None:
    torch.manual_seed(0)
    model, x = Positions(), torch.randn(3, 4)
    halves = split(model, at, x)
    assert torch.equal(halves(x), model(x))
    assert halves.merged_state_dict().keys() == model.state_dict().keys()
    assert not [name for name in vars(model) if "constant" in name]
    head = build_auxiliary(halves.server, as_tensors(halves.client(x)), 3, max_share=1.0)
    head.copy_from(halves.server)
    head.fresh_copy(halves.server)(*as_tensors(halves.client(x)))


class Averaged(nn.Module):
    """A buffer that follows the features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        self.register_buffer("center", torch.zeros(4))

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        if self.training:
            with torch.no_grad():  # a tracer does not see it
                self.center.mul_(0.9).add_(x.mean(dim=0))
        return self.out(torch.relu(x - self.center))


def test_a_buffer_changed_without_gradients_stays_without_them() -> None:
    model, x = Averaged(), torch.randn(3, 4)
    whole = copy.deepcopy(model).train()
    halves = split(model.train(), "out", x)
    assert not model.center.requires_grad
    assert torch.equal(model.center, torch.zeros(4))
    halves.client.train()
    halves.server.train()
    assert torch.equal(halves(x), whole(x))
    assert torch.equal(halves.client.state_dict()["center"], whole.center)  # moved once


class Codebook(nn.Module):
    """Reads a module's weights in front of the cut, and returns what it computes with them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.codes, self.out = nn.Linear(4, 4), nn.Embedding(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        nearest = torch.cdist(x, self.codes.weight).argmin(dim=1)
        chosen = self.codes(nearest)
        return self.out(x + (chosen - x).detach()), (chosen - x.detach()).pow(2).mean(dim=1)


def test_weights_of_a_module_of_the_client_half_are_read_in_front_of_the_cut() -> None:
    torch.manual_seed(0)
    model, x = Codebook(), torch.randn(3, 4)
    halves = split(model, "out", x)
    for ours, theirs in zip(halves(x), model(x), strict=True):
        assert torch.equal(ours, theirs)


class Remembering(nn.Module):
    """Keeps its state from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(4, 4), nn.Linear(4, 3)
        self.state: Any = None

    def forward(self, x: Tensor) -> Any:
        states, state = self.rnn(x.transpose(0, 1), self.state)
        self.state = state.detach()
        return self.out(states[-1])


def test_a_state_that_outlives_a_pass_is_refused_by_name() -> None:
    with pytest.raises(SplitError, match="keeps a state from pass to pass"):
        split(Remembering(), "out", torch.randn(3, 5, 4))


class Valued(nn.Module):
    """One value per sample crosses, beside the features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        value = x.sum(dim=1)
        return self.out(torch.relu(x)), value


def test_a_head_of_one_value_per_sample() -> None:
    halves = split(Valued(), "out", x := torch.randn(3, 4))
    smashed = as_tensors(halves.client(x))
    assert 1 in {tensor.dim() for tensor in smashed}
    for kind in ("auto", "linear"):
        assert build_auxiliary(halves.server, smashed, 3, kind)(*smashed).shape == (3, 3)
