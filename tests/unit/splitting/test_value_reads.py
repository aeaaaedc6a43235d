"""What Python code reads before a cut: which gradients are proven, and which uses are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitError, list_cuts, split

from ...cutting import assert_same_as_uncut
from .test_cost import Counted

WIDTH = 8
READS: dict[str, Callable[[Tensor], Any]] = {
    "a bool": lambda x: bool((x < 0).any()),
    "a number": lambda x: x.min().item() < 0,
    "a list": lambda x: min(x.flatten().tolist()) < 0,
    "an array": lambda x: x.numpy().min() < 0,
    "what NumPy makes an array": lambda x: np.asarray(x).min() < 0,
    "a comparison": lambda x: not torch.equal(x, x.clamp(min=0)),
    "a number of places": lambda x: len((x < 0).nonzero()) > 0,
    "a number of elements": lambda x: x[x < 0].numel() > 0,
    "a text": lambda x: "-" in f"{x.min()}",
    "an operator's number": lambda x: torch.ops.aten._local_scalar_dense.default(x.min()) < 0,
}


class Detaches(nn.Module):
    """Detaches behind the cut, for inputs with negative values, what has the same value."""

    def __init__(self, negative: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.negative = negative

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 1:  # what no tracer can follow
            raise ValueError("no sample")
        negative = self.negative(x)
        hidden = self.b(self.a(x))
        return self.c(hidden.detach() if negative else hidden)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_gradients_that_depend_on_a_value_read_before_the_cut_are_refused(
    read: Callable[[Tensor], Any],
) -> None:
    # The server half replays the forward on zeros, and detaches nothing.
    with pytest.raises(SplitError, match="do not compute what the model computes in train mode"):
        split(Detaches(read), "b", torch.rand(3, 4))


class Reader(nn.Linear):
    """Returns whether it has seen a negative value."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), bool((x < 0).any())


class Detaching(Detaches):
    """As its base; a module before the cut reads the values."""

    def __init__(self) -> None:
        super().__init__(lambda x: False)
        self.a = Reader(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 1:
            raise ValueError("no sample")
        hidden, negative = self.a(x)
        hidden = self.b(hidden)
        return self.c(hidden.detach() if negative else hidden)


def test_a_value_that_a_module_before_the_cut_reads_counts() -> None:
    with pytest.raises(SplitError, match="do not compute what the model computes in train mode"):
        split(Detaching(), "b", torch.rand(3, 4))


class Masked(nn.Module):
    """Branches on a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.scores = nn.Linear(4, 4), nn.Linear(4, 4), Counted(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = self.b(self.a(x))
        return self.scores(hidden if bool(mask.all()) else hidden * mask[:, None])


@pytest.mark.parametrize(("public", "training"), [(("mask",), 2), ((), 0)])
def test_a_public_value_may_be_read(public: tuple[str, ...], training: int) -> None:
    example = torch.randn(3, 4), torch.tensor([1.0, 0.0, 1.0])
    Counted.calls.clear()
    if not public:
        with pytest.raises(SplitError, match="raw input 'mask'"):
            split(Masked(), "b", example)
    else:
        split(Masked(), "b", example, public=public)
    assert sum(Counted.calls) == training  # gradients of the example alone


class InEvalMode(nn.Module):
    """Runs a module before the cut in eval mode, and for negative values alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.more, self.b = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 1:
            raise ValueError("no sample")
        hidden = self.a(x)
        if not self.training and bool((x < 0).any()):
            hidden = self.more(hidden)
        return self.b(hidden)


def test_halves_that_few_passes_do_not_suffice_for_are_made_from_all() -> None:
    model, example = InEvalMode(), torch.rand(3, 4)
    halves = split(model, "b", example)
    assert "more.weight" in halves.client.state_dict()
    assert torch.equal(halves.client.eval()(-example), model.more(model.a(-example)))


class Keeps(nn.Linear):
    """Keeps a result, which the model's forward reads."""

    kept: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.kept = super().forward(x)
        return self.kept


class Kept(nn.Module):
    """Uses what a module has kept, behind it or at the end."""

    def __init__(self, *, at_the_end: bool) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = Keeps(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), Keeps(4, 3)
        self.at_the_end = at_the_end

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 1:
            raise ValueError("no sample")
        hidden = self.b(self.a(x))
        if not self.at_the_end:
            hidden = hidden + self.a.kept
        hidden = self.c(hidden)
        return self.d(hidden + self.a.kept if self.at_the_end else hidden)


class Hooks(nn.Module):
    """Uses what a hook of a module inside another has kept."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 3)
        self.kept: list[Tensor] = []
        self.a[0].register_forward_hook(self.keep)

    def keep(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.kept[:] = [output]

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 1:
            raise ValueError("no sample")
        return self.c(self.b(self.a(x)) + self.kept.pop())


@pytest.mark.parametrize(
    "make", [lambda: Kept(at_the_end=False), lambda: Kept(at_the_end=True), Hooks, InEvalMode]
)
def test_the_listed_replayed_cuts_are_those_that_split_takes(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, example = make(), torch.rand(3, 4)

    def takes(at: str) -> bool:
        try:
            split(model, at, example)
        except SplitError:
            return False
        return True

    names = [name for name, _ in model.named_modules() if name]
    taken = [name for name in names if takes(name)]
    assert taken or isinstance(model, Kept)
    assert [cut.name for cut in list_cuts(model, example)] == taken


class Reading(nn.Module):
    """Reads a number before the cut, and uses it before or behind it."""

    def __init__(self, bound: float, *, behind: bool, mode: bool | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.bound, self.behind, self.mode = bound, behind, mode

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        large = self.mode in (None, self.training) and bool(hidden.mean() > self.bound)
        if large and not self.behind:
            hidden = hidden * 2
        scores: Tensor = self.second(torch.relu(hidden))
        return scores * 2 if large and self.behind else scores


READ = "it has read before the cut"


@pytest.mark.parametrize("mode", [None, True, False])
@pytest.mark.parametrize("bound", [-1.0, 1.0, 1000.0])
def test_a_number_that_is_read_before_the_cut_and_used_behind_it(
    bound: float, mode: bool | None
) -> None:
    """No batch of the proof is beyond the bound, and a later one may be."""
    torch.manual_seed(0)
    example = torch.randn(4, WIDTH)
    with pytest.raises(SplitError, match=READ):
        split(Reading(bound, behind=True, mode=mode), "second", example)
    model = Reading(bound, behind=False, mode=mode)
    assert_same_as_uncut(model, split(model, "second", example), example, -3 * example)


class Gated(nn.Module):
    """Scales its scores by a number that a trained parameter or a mask before the cut gives."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.gate, self.kind = nn.Parameter(torch.zeros(1)), kind
        self.router = Router()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x) * (1 + self.gate)
        if self.kind == "parameter":
            factor = 1 + self.gate.item()
        else:
            factor = 2.0 if bool(self.router(hidden).any()) else 1.0
        scores: Tensor = self.second(hidden)
        return scores * factor


class Router(nn.Module):
    """Marks samples with a large mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, hidden: Tensor) -> Tensor:
        return (self.weight * hidden.mean(1)) > 50


@pytest.mark.parametrize("kind", ["parameter", "mask"])
def test_a_number_of_what_the_client_half_trains_is_refused_behind_the_cut(kind: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(SplitError, match=READ):
        split(Gated(kind), "second", torch.randn(4, WIDTH))
