"""Models as people write them with PyTorch alone."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from .entry import Entry

WORDS, WIDTH = 61, 16


def rows() -> Tensor:
    return torch.randn(3, 4)


def images() -> Tensor:
    return torch.randn(3, 3, 16, 16)


def words() -> Tensor:
    return torch.randint(1, WORDS, (3, 8))


def padded() -> tuple[Tensor, Tensor]:
    """Return ids, and a mask that is true at padding."""
    return words(), torch.arange(8) >= torch.tensor([[5], [7], [8]])


def _encoder(depth: int = 3, *, batch_first: bool = True) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=batch_first)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def _conv(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, padding=1), nn.BatchNorm2d(outward), nn.ReLU(inplace=True)
    )


class Two(nn.Module):
    """Two layers, the frame of the small models."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        return self.b(torch.relu(self.a(x)))


class OptionalMask(Two):
    """A forward with optional arguments."""

    def forward(self, x: Tensor, mask: Tensor | None = None, *, labels: Any = None) -> Any:
        """Return scores, and the labels if they are given."""
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
        """Return the scores."""
        return self.b(self.a(x) * self.angles) * self.angles


class Checked(Two):
    """A branch on data, which no tracer follows."""

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        return self.b(torch.relu(self.a(x)))


class Counting(Two):
    """A forward that counts its calls and keeps its input."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.last = 0, None

    def forward(self, x: Any) -> Any:
        """Return the scores."""
        self.calls += 1
        self.last = x
        return self.b(self.a(x))


class Alias(Two):
    """A layer with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.also = self.b

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        return self.also(self.a(x))


class Deciding(Two):
    """A model that returns classes in eval mode."""

    def forward(self, x: Tensor) -> Any:
        """Return the scores, or the class."""
        scores: Tensor = self.b(self.a(x))
        return scores if self.training else scores.softmax(dim=1)


class Residual(nn.Module):
    """A cut within a residual block crosses with its skip."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
        self.mlp, self.c = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        x = self.a(x)
        x = x + self.mlp(self.norm(x))
        return self.c(x)


class Concatenated(Two):
    """A server half that reads the input itself."""

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        return self.b(self.a(x)) + x


class Tied(nn.Module):
    """Embedding and output layer are one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(WORDS, WIDTH), _encoder(2)
        self.out = nn.Linear(WIDTH, WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, x: Tensor) -> Any:
        """Return scores of all words."""
        return self.out(self.encoder(self.words(x)))


class Numpy(Two):
    """A forward that leaves PyTorch."""

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        return self.b(torch.from_numpy(self.a(x).detach().numpy()))


class Reader(nn.Module):
    """PyTorch's encoder with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(WORDS, WIDTH), _encoder()
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, pad: Tensor) -> Any:
        """Return the scores."""
        return self.out(self.encoder(self.words(x), src_key_padding_mask=pad).mean(dim=1))


class Causal(nn.Module):
    """PyTorch's tutorial: minus infinity in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(WORDS, WIDTH), _encoder()
        self.out = nn.Linear(WIDTH, 3)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(8))

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        return self.out(self.encoder(self.words(x), mask=self.mask).mean(dim=1))


class TimeFirst(Reader):
    """Hidden states with the batch on their second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _encoder(batch_first=False)

    def forward(self, x: Tensor, pad: Tensor) -> Any:
        """Return the scores."""
        hidden = self.words(x).transpose(0, 1)
        return self.out(self.encoder(hidden, src_key_padding_mask=pad).mean(dim=0))


class Translator(nn.Module):
    """PyTorch's encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.both = nn.Transformer(WIDTH, 2, 2, 2, 32, batch_first=True)
        self.out = nn.Linear(WIDTH, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Any:
        """Return scores of each next word."""
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.out(self.both(self.words(source), self.words(target), tgt_mask=mask))


class Packed(nn.Module):
    """An LSTM of packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(WORDS, 8), nn.LSTM(8, 8, batch_first=True)
        self.hidden, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        """Return the scores."""
        packed = rnn.pack_padded_sequence(
            self.words(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=8)
        return self.out(torch.relu(self.hidden(states.sum(dim=1))))


class Gru(nn.Module):
    """A GRU between convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv1d(4, 8, 3), nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        """Return the scores of a series ``(B, 4, T)``."""
        states, _ = self.gru(torch.relu(self.conv(x)).transpose(1, 2))
        return self.out(states[:, -1])


class UNet(nn.Module):
    """A U-Net of lists, with a branch on shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList([_conv(3, 4), _conv(4, 8)])
        self.middle = _conv(8, 8)
        self.ups = nn.ModuleList([_conv(16, 4), _conv(8, 4)])
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        """Return scores of each pixel."""
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2)
            if x.shape[-2:] != skip.shape[-2:]:
                x = F.interpolate(x, size=skip.shape[-2:])
            x = up(torch.cat([skip, x], dim=1))
        return self.out(x)


class TwoViews(nn.Module):
    """Two inputs with an encoder each."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(3, 4)
        self.joined, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Any:
        """Return the scores."""
        both = torch.cat([self.left(left), self.right(right)], dim=1)
        return self.out(torch.relu(self.joined(torch.relu(both))))


class Router(nn.Module):
    """A mixture that also returns its balance loss."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate = nn.Linear(4, 4), nn.Linear(4, 2)
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        """Return scores and balance."""
        x = torch.relu(self.a(x))
        gates = self.gate(x).softmax(dim=1)
        mixed = sum(gates[:, k, None] * expert(x) for k, expert in enumerate(self.experts))
        return {"logits": self.out(mixed), "balance": gates.mean(dim=0).pow(2).sum()}


class Convolutions(nn.Module):
    """Convolutions and a classifier; ``norm`` is the normalisation between them."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), norm
        self.second, self.drop = nn.Conv2d(8, 8, 3), nn.Dropout(0.2)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        x = F.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        return self.out(self.drop(torch.relu(self.second(x)).mean(dim=(2, 3))))


def _weight_norm() -> nn.Module:
    model = Two()
    nn.utils.parametrizations.weight_norm(model.a)
    nn.utils.parametrizations.weight_norm(model.b)
    return model


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def entries() -> Iterator[Entry]:
    """Yield the models."""

    def case(
        name: str,
        make: Any,
        cuts: str,
        example: Any = rows,
        public: tuple[str, ...] = (),
        axis: int = 1,
    ) -> Entry:
        return Entry("torch", name, make, example, tuple(cuts.split()), public, class_axis=axis)

    yield case("perceptron", _perceptron, "1 2 4")
    yield case(
        "convolutions, BatchNorm",
        lambda: Convolutions(nn.BatchNorm2d(8)),
        "norm second out",
        images,
    )
    yield case(
        "convolutions, GroupNorm",
        lambda: Convolutions(nn.GroupNorm(2, 8)),
        "norm second out",
        images,
    )
    yield case("U-Net", UNet, "downs.1 middle ups.1", images)
    yield case(
        "encoder with a padding mask",
        Reader,
        "encoder.layers.0 encoder.layers.2 out",
        padded,
        ("pad",),
    )
    yield case("encoder, mask not public", Reader, "encoder.layers.0 encoder.layers.2 out", padded)
    yield case("encoder with a causal mask", Causal, "encoder.layers.0 encoder.layers.2 out", words)
    yield case(
        "encoder, time first", TimeFirst, "encoder.layers.0 encoder.layers.2 out", padded, ("pad",)
    )
    yield case(
        "encoder and decoder", Translator,
        "both.encoder.layers.1 both.decoder.layers.1 out", lambda: (words(), words()[:, :5]),
        axis=-1,
    )  # fmt: skip
    yield case("tied embeddings", Tied, "encoder.layers.0 out", words, axis=-1)
    lengths = ("lengths",)
    yield case(
        "packed LSTM",
        Packed,
        "lstm hidden out",
        lambda: (words(), torch.tensor([8, 5, 3])),
        lengths,
    )
    yield case("convolutions and GRU", Gru, "gru out", lambda: torch.randn(3, 4, 12))
    yield case("two views", TwoViews, "right joined out", lambda: (rows(), torch.randn(3, 3)))
    yield case("mixture with a balance loss", Router, "gate experts.0 out")
    yield case("residual block", Residual, "norm mlp c")
    yield case("optional arguments", OptionalMask, "b")
    yield case("layers never called", Unused, "b")
    yield case("constant on both sides", Rotary, "b")
    yield case("branch on data", Checked, "b")
    yield case("counts its calls", Counting, "b")
    yield case("layer with two names", Alias, "b")
    yield case("other outputs in eval mode", Deciding, "b")
    yield case("weight norm", _weight_norm, "b")
    yield case("input used behind the cut", Concatenated, "b")
    yield case("leaves PyTorch", Numpy, "b")
    yield case("compiled", lambda: torch.compile(Residual(), backend="eager"), "mlp")
    yield case(
        "TorchScript",
        lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))),
        "1",
    )
