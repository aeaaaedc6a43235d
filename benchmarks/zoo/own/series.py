"""Models of series and frames: recurrent, dilated, state spaces."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..entry import Entry
from .examples import case, series


class Gru(nn.Module):
    """A GRU between convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv1d(4, 8, 3), nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        states, _ = self.gru(torch.relu(self.conv(x)).transpose(1, 2))
        return self.out(states[:, -1])


class CausalConv(nn.Module):
    """A dilated convolution that sees the past alone."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.past = dilation
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, 2, dilation=dilation))

    def forward(self, x: Tensor) -> Any:
        return x + torch.relu(self.conv(F.pad(x, (self.past, 0))))


class Tcn(nn.Module):
    """A temporal convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv1d(4, 8, 1), nn.Linear(8, 3)
        self.blocks = nn.Sequential(*(CausalConv(2**k) for k in range(3)))

    def forward(self, x: Tensor) -> Any:
        return self.out(self.blocks(self.first(x))[..., -1])


class WaveNet(nn.Module):
    """Gated dilated convolutions, with the sum of all their skips."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 8, 1)
        self.gates = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**k) for k in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(3))
        self.out = nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        total: Any = 0
        for k, (gate, skip) in enumerate(zip(self.gates, self.skips, strict=True)):
            value, door = gate(F.pad(x, (2**k, 0))).chunk(2, dim=1)
            found = torch.tanh(value) * torch.sigmoid(door)
            total = total + skip(found)
            x = x + found
        return self.out(torch.relu(total))


class ConvLstm(nn.Module):
    """A convolutional LSTM over the frames of ``(B, T, 3, H, W)``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.cell = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        frames = self.stem(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        state = memory = torch.zeros_like(frames[:, 0])
        for frame in frames.unbind(dim=1):
            doors = self.cell(torch.cat([frame, state], dim=1)).chunk(4, dim=1)
            enter, forget, leave = (torch.sigmoid(door) for door in doors[:3])
            memory = forget * memory + enter * torch.tanh(doors[3])
            state = leave * torch.tanh(memory)
        return self.out(state)


class Stateful(nn.Module):
    """An RNN that keeps its state from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rnn, self.out = nn.Linear(4, 8), nn.RNN(8, 8), nn.Linear(8, 3)
        self.state: Any = None

    def forward(self, x: Tensor) -> Any:
        states, state = self.rnn(self.first(x.mT).transpose(0, 1), self.state)
        self.state = state.detach()
        return self.out(states[-1])


class StateSpace(nn.Module):
    """A diagonal state space model with complex states, as a scan."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
        self.decay = nn.Parameter(torch.rand(8, 4))
        self.angle = nn.Parameter(torch.rand(8, 4))
        self.read = nn.Parameter(torch.randn(8, 4, dtype=torch.cfloat))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x.mT)
        rate = torch.exp(torch.complex(-self.decay.exp(), self.angle))
        state = torch.zeros(x.shape[0], 8, 4, dtype=torch.cfloat)
        found = []
        for step in x.unbind(dim=1):
            state = rate * state + step[..., None]
            found.append((state * self.read).real.sum(dim=-1))
        return self.out(self.norm(torch.stack(found, dim=1)).mean(dim=1))


class UNet1d(nn.Module):
    """A U-Net of series, with its skips in a dict and added."""

    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleDict({f"d{k}": nn.Conv1d(4, 4, 3, padding=1) for k in range(3)})
        self.ups = nn.ModuleDict({f"u{k}": nn.Conv1d(4, 4, 3, padding=1) for k in range(3)})
        self.out = nn.Conv1d(4, 3, 1)

    def forward(self, x: Tensor) -> Any:
        skips: dict[int, Tensor] = {}
        for k in range(3):
            skips[k] = torch.relu(self.downs[f"d{k}"](x))
            x = F.avg_pool1d(skips[k], 2)
        for k in reversed(range(3)):
            rise = x.repeat_interleave(2, dim=2)
            x = torch.relu(self.ups[f"u{k}"](rise + skips.pop(k)))
        return self.out(x)


def entries() -> Iterator[Entry]:
    """Yield the models."""
    yield case("convolutions and GRU", Gru, "gru out", lambda: torch.randn(3, 4, 12))
    yield case("TCN", Tcn, "blocks.0 blocks.1.conv blocks.2 out", series)
    yield case("WaveNet", WaveNet, "gates.0 skips.1 out", series, axis=1)
    frames = lambda: torch.randn(3, 4, 3, 8, 8)  # noqa: E731
    yield case("convolutional LSTM", ConvLstm, "cell out", frames)
    yield case("RNN that keeps its state", Stateful, "rnn out", series)
    yield case("state space", StateSpace, "norm out", series)
    yield case("U-Net of series", UNet1d, "downs.d1 ups.u1 out", series)
