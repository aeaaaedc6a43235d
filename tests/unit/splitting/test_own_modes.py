"""A model's own ``train``: modules that it keeps in another mode are so in the halves too."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitError, SplitModel, build_auxiliary, split
from fsl_sage_flwr.splitting.errors import UnfaithfulError
from fsl_sage_flwr.splitting.inputs import Arguments, as_tensors
from fsl_sage_flwr.splitting.model_state import unchanged
from fsl_sage_flwr.splitting.proof import prove_halves
from fsl_sage_flwr.splitting.whole import Whole


class Body(nn.Module):
    """A container of both sides with a method that is custom."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.next, self.next_norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.next_norm(self.next(x))


class Frozen(nn.Module):
    """Keeps every BatchNorm in eval mode, and drops out in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop = Body(), nn.Dropout(0.5)
        self.last = nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.body(x).mean((2, 3))))

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        self.drop.train()
        return self


class FrozenBody(Body):
    """The same of a container on the way to the cut."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.norm.eval()
        self.next_norm.eval()
        return self


class Outer(Frozen):
    def __init__(self) -> None:
        super().__init__()
        self.body = FrozenBody()

    train = nn.Module.train


def halves_of(make: type[nn.Module]) -> tuple[nn.Module, SplitModel]:
    torch.manual_seed(0)
    model = make()
    return model, split(model, "body.next", torch.randn(4, 1, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("make", [Frozen, Outer])
@pytest.mark.parametrize("training", [True, False])
def test_modes_of_the_halves_are_the_models(make: type[nn.Module], training: bool) -> None:
    model, halves = halves_of(make)
    for half in (halves.client, halves.server, copy.deepcopy(halves.server)):
        half.train(not training)
        half.train(training)
        modes = {name: module.training for name, module in half.named_modules()}
        model.train(not training)
        model.train(training)
        for name, module in model.named_modules():
            if name and name in modes and next(module.children(), None) is None:
                assert modes[name] == module.training, name


@pytest.mark.parametrize("make", [Frozen, Outer])
def test_three_steps_are_the_uncut_models(make: type[nn.Module]) -> None:
    model, halves = halves_of(make)
    whole = copy.deepcopy(model).train()
    halves.client.train()
    halves.server.train()
    parts = [*halves.client.parameters(), *halves.server.parameters()]
    optimizers = torch.optim.SGD(whole.parameters(), 0.1), torch.optim.SGD(parts, 0.1)
    for seed in range(3):
        x = torch.randn(4, 1, 8, 8)
        for run, optimizer in zip((whole, halves), optimizers, strict=True):
            optimizer.zero_grad()
            torch.manual_seed(seed)
            run(x).square().mean().backward()
            optimizer.step()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, halves.merged_state_dict()[name]), name
    assert int(whole.get_buffer("body.norm.num_batches_tracked")) == 0


def test_a_head_keeps_the_modes_of_the_blocks_that_it_is_made_of() -> None:
    _, halves = halves_of(Frozen)
    smashed = as_tensors(halves.client.eval()(torch.randn(4, 1, 8, 8)))
    head = build_auxiliary(halves.server, tuple(t.detach() for t in smashed), 3).train()
    norms = [module for module in head.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_the_proof_sees_halves_that_lose_them() -> None:
    model, halves = halves_of(Frozen)
    halves.client.own_modes = {}  # type: ignore[assignment]
    example = torch.randn(4, 1, 8, 8)
    words = "do not compute what the model computes in train"
    with unchanged(model) as state:
        whole = Whole(model, Arguments.of(model, example), state, example.device)
        with pytest.raises(UnfaithfulError, match=words):
            prove_halves(whole, halves, (example,))


def test_the_modes_at_the_cut_are_left_as_they_were() -> None:
    model = Frozen()
    model.body.norm.train()
    before = {name: module.training for name, module in model.named_modules()}
    split(model, "body.next", torch.randn(4, 1, 8, 8))
    assert {name: module.training for name, module in model.named_modules()} == before


class Counting(nn.Module):
    """Computes something else at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x) * self.calls


class Numpys(Counting):
    """Draws random numbers that no seed of torch repeats."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * float(np.random.rand())


class Around(nn.Module):
    """Hides a module from the trace."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.back = inner, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.inner(x))


@pytest.mark.parametrize("inner", [Counting, Numpys])
def test_a_model_that_no_seed_repeats_is_told_apart_from_a_bad_cut(inner: type[nn.Module]) -> None:
    words = (
        r"two passes of the uncut Around in eval mode.*differ in output 0 and \d+ more.*torch\.r"
    )
    with pytest.raises(SplitError, match=words):
        split(Around(inner()), "back", torch.randn(4, 4))


class Tied(nn.Module):
    """Scores by its embedding's weights."""

    def __init__(self, *, traced: bool) -> None:
        super().__init__()
        self.embed, self.middle = nn.Embedding(7, 4), nn.Linear(4, 4)
        self.last, self.traced = nn.Linear(4, 7, bias=False), traced
        self.last.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embed(ids)
        if not self.traced and hidden.shape[1] > 9:
            raise ValueError("too long")
        return self.last(self.middle(hidden))


@pytest.mark.parametrize("traced", [True, False])
def test_tied_weights_come_with_three_remedies(traced: bool) -> None:
    ids = torch.randint(7, (2, 5))
    model = Tied(traced=traced)
    words = r"tied across the cut 'middle': .*Freeze it .*untie it .*or train an adapter"
    with pytest.raises(SplitError, match=words):
        split(model, "middle", ids)
    model.last.weight = nn.Parameter(model.last.weight.detach().clone())
    assert split(model, "middle", ids).cut == "middle"
