"""Habits of forwards that cuts must get right, in small models."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..entry import Entry
from .examples import case, rows


class Two(nn.Module):
    """Two layers, the frame of the small models."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.b(torch.relu(self.a(x)))


class OptionalMask(Two):
    """A forward with optional arguments."""

    def forward(self, x: Tensor, mask: Tensor | None = None, *, labels: Any = None) -> Any:
        hidden = self.a(x)
        scores = self.b(hidden if mask is None else hidden * mask)
        return {"logits": scores} if labels is None else (scores, labels)


class Unused(Two):
    """Layers that the forward never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.never, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(3))


class Rotary(Two):
    """A constant buffer that both sides read."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("angles", torch.randn(4))

    def forward(self, x: Tensor) -> Any:
        return self.b(self.a(x) * self.angles) * self.angles


class Checked(Two):
    """A branch on data, which no tracer follows."""

    def forward(self, x: Tensor) -> Any:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        return self.b(torch.relu(self.a(x)))


class Counting(Two):
    """A forward that counts its calls and keeps its input."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.last = 0, None

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.last = x
        return self.b(self.a(x))


class Alias(Two):
    """A layer with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.also = self.b

    def forward(self, x: Tensor) -> Any:
        return self.also(self.a(x))


class Deciding(Two):
    """A model that returns classes in eval mode."""

    def forward(self, x: Tensor) -> Any:
        scores: Tensor = self.b(self.a(x))
        return scores if self.training else scores.softmax(dim=1)


class Residual(nn.Module):
    """A cut within a residual block crosses with its skip."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
        self.mlp, self.c = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        x = x + self.mlp(self.norm(x))
        return self.c(x)


class Concatenated(Two):
    """A server half that reads the input itself."""

    def forward(self, x: Tensor) -> Any:
        return self.b(self.a(x)) + x


class Numpy(Two):
    """A forward that leaves PyTorch."""

    def forward(self, x: Tensor) -> Any:
        return self.b(torch.from_numpy(self.a(x).detach().numpy()))


class Answer(NamedTuple):
    """Scores and features under names."""

    logits: Tensor
    features: Tensor


class NamedAnswer(Two):
    """A named tuple as output."""

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.a(x))
        return Answer(self.b(hidden), hidden)


@dataclass
class Scored:
    """An output of the user's own class."""

    logits: Tensor


class OwnAnswer(Two):
    """A dataclass as output."""

    def forward(self, x: Tensor) -> Any:
        return Scored(self.b(torch.relu(self.a(x))))


class ByName(nn.Module):
    """Inputs that are given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, *, left: Tensor, right: Tensor) -> Any:
        return self.b(torch.relu(self.a(left) + self.a(right)))


class Checkpointed(nn.Module):
    """Blocks whose activations are computed again in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.reentrant = nn.Linear(4, 8), reentrant
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.1)) for _ in range(3)
        )
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.out(x)


class Hooked(nn.Module):
    """Features that hooks collect, as extractors of features do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.out = nn.Linear(16, 3)
        self.found: dict[str, Tensor] = {}
        for name in ("1", "3"):
            self.body.get_submodule(name).register_forward_hook(self.hook(name))

    def hook(self, name: str) -> Any:
        return partial(self.keep, name)

    def keep(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        self.found[name] = output

    def forward(self, x: Tensor) -> Any:
        self.body(x)
        return self.out(torch.cat([self.found["1"], self.found["3"]], dim=1))


class HookedInside(Hooked):
    """Hooks that are inner functions, of which a copy stores into the original."""

    def hook(self, name: str) -> Any:
        return lambda module, args, output: self.keep(name, module, args, output)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return -0.1 * gradient


class Reversed(nn.Module):
    """A domain classifier behind a reversed gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.domain, self.out = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.body(x))
        domain = self.domain(_Reverse.apply(hidden))
        return {"logits": self.out(hidden), "domain": domain}


class Vmapped(nn.Module):
    """An ensemble in one tensor, evaluated by vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
        self.members = nn.Parameter(torch.randn(5, 8, 8) / 3)

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.body(x))
        each = torch.func.vmap(lambda weight: torch.relu(hidden @ weight))(self.members)
        return self.out(each.mean(dim=0))


class Looped(nn.Module):
    """One block that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        for _ in range(3):
            x = x + self.block(x)
        return self.out(x)


class Skipping(nn.Module):
    """Blocks that training leaves out at random, and an exit of training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.exit, self.out = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = early = self.first(x)
        for block in self.blocks:
            kept = (torch.rand(len(x), 1) < 0.8).float() if self.training else 1.0
            x = x + kept * torch.relu(block(x))
        return self.out(x) + self.exit(early) if self.training else self.out(x)


class Listed(nn.Module):
    """Weights in lists and dicts, without modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 3) for _ in range(2))
        self.scales = nn.ParameterDict({"low": torch.ones(8), "high": torch.ones(8)})

    def forward(self, x: Tensor) -> Any:
        x = self.first(x) * self.scales["low"]
        for weight in self.weights:
            x = torch.tanh(x @ weight)
        return self.out(x * self.scales["high"])


class Averaged(Two):
    """A buffer that follows the features, outside BatchNorm."""

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(4))

    def forward(self, x: Tensor) -> Any:
        hidden = self.a(x)
        if self.training:
            with torch.no_grad():
                self.center.mul_(0.9).add_(0.1 * hidden.mean(dim=0))
        return self.b(torch.relu(hidden - self.center))


def _normed(norm: Any) -> nn.Module:
    model = Two()
    norm(model.a)
    norm(model.b)
    return model


def entries() -> Iterator[Entry]:
    """Yield the models."""
    yield case("residual block", Residual, "norm mlp c")
    yield case("optional arguments", OptionalMask, "b")
    yield case("layers never called", Unused, "b")
    yield case("constant on both sides", Rotary, "b")
    yield case("branch on data", Checked, "b")
    yield case("counts its calls", Counting, "b")
    yield case("layer with two names", Alias, "b")
    yield case("other outputs in eval mode", Deciding, "b")
    yield case("weight norm", lambda: _normed(nn.utils.parametrizations.weight_norm), "b")
    yield case("spectral norm", lambda: _normed(nn.utils.parametrizations.spectral_norm), "b")
    yield case("input used behind the cut", Concatenated, "b")
    yield case("leaves PyTorch", Numpy, "b")
    compiled: Any = lambda: torch.compile(Residual(), backend="eager")  # noqa: E731
    yield case("compiled", compiled, "mlp")
    yield case(
        "TorchScript",
        lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))),
        "1",
    )
    yield case("named tuple as output", NamedAnswer, "b", scores=lambda output: output.logits)
    yield case("own class as output", OwnAnswer, "b", scores=lambda output: output.logits)
    yield case("inputs by name", ByName, "b", lambda: {"left": rows(), "right": rows()})
    checkpointed = "blocks.0 blocks.1.0 blocks.2 out"
    yield case("checkpointed blocks", lambda: Checkpointed(reentrant=False), checkpointed)
    yield case("checkpointed blocks, reentrant", lambda: Checkpointed(reentrant=True), checkpointed)
    yield case("features that hooks collect", Hooked, "body.1 body.2 out")
    yield case("features that inner functions collect", HookedInside, "body.1 body.2 out")
    yield case("reversed gradient", Reversed, "domain out")
    yield case("ensemble by vmap", Vmapped, "out")
    yield case("block called three times", Looped, "block block.1 out")
    yield case("blocks left out at random", Skipping, "blocks.0 blocks.1 out")
    yield case("weights in lists and dicts", Listed, "out")
    yield case("moving average of features", Averaged, "b")
    yield case("float64", lambda: Residual().double(), "norm c", lambda: rows().double())
    yield case("bfloat16", lambda: Looped().bfloat16(), "block out", lambda: rows().bfloat16())
