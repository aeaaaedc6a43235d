"""The cost of a cut: passes of the model, copies of its parameters, and its state afterwards."""

import copy
import gc
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import SplitError, list_cuts, split
from fsl_sage_flwr.splitting.call_memory import CallMemory
from fsl_sage_flwr.splitting.model_state import unchanged


class Counted(nn.Linear):
    """Counts the calls of all its objects and copies."""

    calls: ClassVar[list[bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        Counted.calls.append(torch.is_grad_enabled() and self.training)
        return super().forward(x)


class Chain(nn.Module):
    """Six blocks and scores."""

    def __init__(self, *, traced: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(6)])
        self.scores, self.traced = Counted(4, 3), traced

    def forward(self, x: Tensor) -> Tensor:
        if not self.traced and bool(x.isnan().any()):
            raise ValueError("not a number")
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.scores(x)


class ByShape(Chain):
    """Branches on sizes, which are no values."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 1:
            raise ValueError("no sample")
        return super().forward(x)


@pytest.mark.parametrize(
    ("make", "most", "training"),
    [
        (lambda: Chain(traced=True), 4, 2),
        (lambda: ByShape(traced=True), 11, 2),  # replayed; proven on other values too
        # Replayed; reads values, on which gradients depend, and behind the cut the output might.
        (lambda: Chain(traced=False), 24, 5),
    ],
)
def test_a_cut_is_proven_in_both_modes_with_few_passes(
    make: Callable[[], Chain], most: int, training: int
) -> None:
    model = make()
    Counted.calls.clear()
    split(model, "blocks.2", torch.randn(3, 4))
    assert len(Counted.calls) == most
    assert sum(Counted.calls) == training


@pytest.mark.slow
@pytest.mark.parametrize("traced", [True, False])
def test_a_cut_more_in_a_list_costs_few_passes_or_none(traced: bool) -> None:
    model = Chain(traced=traced)
    Counted.calls.clear()
    cuts = list_cuts(model, torch.randn(3, 4))
    assert [cut.name for cut in cuts] == [*(f"blocks.{k}" for k in range(1, 6)), "scores"]
    # Traced halves share the outputs of modules; copies of blocks in default heads are not run.
    assert len(Counted.calls) <= (3 if traced else 8 * len(cuts) + 8)
    assert sum(Counted.calls) == 0


@pytest.mark.slow
def test_a_list_reports_every_submodule_that_it_has_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[tuple[int, int]] = []
    list_cuts(Chain(traced=False), torch.randn(3, 4), on_progress=lambda *done: told.append(done))
    assert told == [(k, 7) for k in range(1, 8)]  # a list of modules has no forward
    list_cuts(Chain(traced=True), torch.randn(3, 4))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("traced", [True, False])
def test_a_list_holds_few_activations(traced: bool) -> None:
    model, example, held = Chain(traced=traced), torch.randn(64, 4), list[int]()

    def count(done: int, total: int) -> None:
        gc.collect()
        found = [t for t in gc.get_objects() if type(t) is Tensor and t.shape == example.shape]
        memory = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found}
        held.append(sum(memory.values()) // (example.numel() * example.element_size()))

    list_cuts(model, example, on_progress=count)
    # Of each block its output, and that of the function behind it, which the next block is given;
    # and the inputs, and what is being compared.
    assert max(held) <= 2 * 6 + 4


class Noise(nn.Module):
    """Draws numbers in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class InPlace(nn.Module):
    """Calls that must not be answered from memory: in place, of the same tensor, drawing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.changing, self.same, self.drawing = nn.ReLU(inplace=True), nn.Identity(), Noise()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        passed = self.drawing(self.same(self.changing(hidden)))
        passed += hidden
        return self.c(self.drawing(self.b(passed)) + passed)


def takes(model: nn.Module, at: str, example: Tensor) -> bool:
    try:
        split(model, at, example)
    except SplitError:
        return False
    return True


def test_the_listed_cuts_of_a_model_with_odd_modules_are_those_that_split_takes() -> None:
    torch.manual_seed(0)
    model, example = InPlace(), torch.randn(3, 4)
    names = [name for name, _ in model.named_modules() if name]
    taken = [name for name in names if takes(model, name, example)]
    assert len(taken) > 3
    assert [cut.name for cut in list_cuts(model, example)] == taken


def test_a_function_of_remembered_outputs_runs_once_and_again_after_they_have_changed() -> None:
    memory, module, x, calls = CallMemory(), nn.Linear(4, 4), torch.randn(3, 4), list[int]()

    def result(hidden: Tensor) -> Tensor:
        def doubled() -> Tensor:
            calls.append(1)
            return 2 * hidden

        return memory.call_function("double", doubled, ((hidden,), {}))

    first, second, raw = (memory.call("module", module, (x,), {}) for _ in range(3))
    assert torch.equal(result(first), result(second))
    assert len(calls) == 1
    result(second).zero_()  # a copy: the memory keeps its values
    assert torch.equal(result(first), 2 * module(x))
    assert len(calls) == 1
    with torch.no_grad():
        second.add_(1)
    assert torch.equal(result(second), 2 * (module(x) + 1))
    assert len(calls) == 2
    result(x)
    result(x)  # of an input that no call has made
    assert len(calls) == 4
    assert torch.equal(memory.call("module", module, (x + 1,), {}), module(x + 1))
    assert torch.equal(raw, module(x))


class Writes(nn.Module):
    """Writes into its parameters during the forward, in four ways."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4, max_norm=0.1)
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        with torch.no_grad():
            self.a.weight.clamp_(-0.1, 0.1)
            self.a.weight[0].mul_(0.5)
        self.b.weight.data.div_(2.0)
        self.c.weight.data = F.normalize(self.c.weight.data)
        return self.c(self.b(self.a(self.words(ids).mean(dim=1))))


def test_parameters_that_the_forward_writes_into_are_set_back() -> None:
    torch.manual_seed(0)
    model = Writes()
    before = copy.deepcopy(model.state_dict())
    addresses = {name: p.data_ptr() for name, p in model.named_parameters()}
    ids = torch.randint(7, (3, 5))
    with unchanged(model) as state:
        model(ids)
        assert not torch.equal(model.words.weight, before["words.weight"])
        state.restore()
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
        model(ids)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == addresses
    list_cuts(model, ids)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_parameters_that_the_forward_only_reads_are_not_copied() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with unchanged(model) as state:
        model(torch.randn(3, 4)).sum().backward()
        assert not state.writes.copied
    assert all(p.grad is None for p in model.parameters())
