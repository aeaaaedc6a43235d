"""Inputs, blocks and the form of an entry that the models of PyTorch alone share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fsl_sage_flwr.objective import scores_of

from ..entry import Entry

WORDS, WIDTH = 61, 16


def rows() -> Tensor:
    return torch.randn(3, 4)


def images() -> Tensor:
    return torch.randn(3, 3, 16, 16)


def series() -> Tensor:
    return torch.randn(3, 4, 16)


def points() -> Tensor:
    return torch.randn(3, 6, 3)


def words() -> Tensor:
    return torch.randint(1, WORDS, (3, 8))


def padded() -> tuple[Tensor, Tensor]:
    """Return ids, and a mask that is true at padding."""
    return words(), torch.arange(8) >= torch.tensor([[5], [7], [8]])


def encoder(depth: int = 3, *, batch_first: bool = True) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=batch_first)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def conv_block(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, padding=1), nn.BatchNorm2d(outward), nn.ReLU(inplace=True)
    )


def feed_forward(width: int, inner: int) -> nn.Sequential:
    """Return the perceptron of a transformer's block, normalised first."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)
    )


def case(
    name: str,
    make: Callable[[], nn.Module],
    cuts: str,
    example: Callable[[], Any] = rows,
    public: tuple[str, ...] = (),
    *,
    axis: int = 1,
    scores: Callable[[Any], Tensor] = scores_of,
) -> Entry:
    """Return the entry of a model; ``cuts`` are names with spaces between them."""
    return Entry("torch", name, make, example, tuple(cuts.split()), public, scores, axis)
