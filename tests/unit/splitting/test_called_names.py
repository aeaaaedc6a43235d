"""Modules with several names are cut at the name by which the forward calls them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr import list_cuts
from fsl_sage_flwr.splitting import split


class Skip(nn.Module):
    """A level of an nnU-Net: holds its blocks, which the network lists too."""

    def __init__(self, down: nn.Module, inner: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down, self.inner, self.up = down, inner, up

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.down(x))
        return self.up(torch.cat([x, self.inner(x)], dim=1))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.bottleneck = nn.Linear(4, 4)
        self.ups = nn.ModuleList(nn.Linear(8, 4) for _ in range(2))
        inner = Skip(self.downs[1], self.bottleneck, self.ups[1])
        self.levels = Skip(self.downs[0], inner, self.ups[0])
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.levels(x))


class Branching(Nested):
    """Cannot be traced."""

    def forward(self, x: Tensor) -> Any:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        return super().forward(x)


@pytest.mark.parametrize("kind", [Nested, Branching])
@pytest.mark.parametrize("at", ["downs.1", "bottleneck", "ups.1", "levels.inner.down", "out"])
def test_a_module_that_is_listed_and_called_elsewhere_can_be_cut(kind: Any, at: str) -> None:
    torch.manual_seed(0)
    model, x = kind(), torch.randn(3, 4)
    names, order = list(model.state_dict()), [name for name, _ in model.named_modules()]
    halves = split(model, at, x)
    assert sorted(halves.merged_state_dict()) == sorted(names)
    assert [name for name, _ in model.named_modules()] == order
    ours = {id(p) for p in halves.client.parameters()}
    theirs = {id(p) for p in halves.server.parameters()}
    assert not ours & theirs
    assert ours | theirs == {id(p) for p in model.parameters()}
    assert torch.equal(halves(x), model(x))


def test_a_second_name_is_a_cut_too() -> None:
    model, x = Nested(), torch.randn(3, 4)
    assert split(model, "levels.inner.inner", x).cut == split(model, "bottleneck", x).cut


def test_cuts_are_listed_by_the_first_names() -> None:
    assert {"downs.1", "bottleneck", "ups.1"} <= {
        c.name for c in list_cuts(Nested(), torch.randn(3, 4))
    }


class InOrder(nn.Module):
    """Calls its children in their order, one of them inside another."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.wrapped = nn.Sequential(nn.Tanh(), self.inner)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        for child in self.children():
            x = child(x)
        return x


def test_a_forward_through_its_children_keeps_their_order() -> None:
    model, x = InOrder(), torch.randn(3, 4)
    halves = split(model, "out", x)
    assert torch.equal(halves(x), model(x))
