"""Models of images: convolutions, patches, capsules, several views and tasks."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..entry import Entry
from .examples import case, conv_block, feed_forward, images


class Convolutions(nn.Module):
    """Convolutions and a classifier; ``norm`` is the normalisation between them."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), norm
        self.second, self.drop = nn.Conv2d(8, 8, 3), nn.Dropout(0.2)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        return self.out(self.drop(torch.relu(self.second(x)).mean(dim=(2, 3))))


class MlpMixer(nn.Module):
    """Perceptrons over patches, and over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"tokens": feed_forward(16, 8), "channels": feed_forward(16, 32)})
            for _ in range(3)
        )
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        blocks: Any = self.blocks
        for block in blocks:
            x = x + block["tokens"](x.mT).mT
            x = x + block["channels"](x)
        return self.out(x.mean(dim=1))


class ConvMixer(nn.Module):
    """Depthwise convolutions with a skip, then pointwise ones."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.depthwise = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(2))
        self.pointwise = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = F.gelu(self.patches(x))
        for mix, change, norm in zip(self.depthwise, self.pointwise, self.norms, strict=True):
            x = norm(F.gelu(change(x + F.gelu(mix(x)))))
        return self.out(x.mean(dim=(2, 3)))


class VisionTransformer(nn.Module):
    """Patches, a class token and learnt positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16) / 50)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
            for _ in range(3)
        )
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x)[:, 0])


class Capsules(nn.Module):
    """Capsules with routing by agreement."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.primary = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 16, 3, stride=2)
        self.weight = nn.Parameter(torch.randn(36, 3, 6, 4) / 5)
        self.out = nn.Linear(18, 3)

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        """Return vectors of a length below 1."""
        square = x.pow(2).sum(dim=-1, keepdim=True)
        return square / (1 + square) * x / (square + 1e-8).sqrt()

    def forward(self, x: Tensor) -> Any:
        x = self.squash(self.primary(torch.relu(self.conv(x))).reshape(x.shape[0], 36, 4))
        votes = torch.einsum("jkoi,bji->bjko", self.weight, x)
        logits = torch.zeros(votes.shape[:3])
        for _ in range(3):
            outputs = self.squash((logits.softmax(dim=2)[..., None] * votes).sum(dim=1))
            logits = logits + (votes * outputs[:, None]).sum(dim=-1)
        return self.out(outputs.flatten(1))


class Siamese(nn.Module):
    """Two images, one encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))
        self.compare, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Any:
        one, other = (self.encoder(x).mean(dim=(2, 3)) for x in (left, right))
        return self.out(torch.relu(self.compare((one - other).abs())))


class Contrastive(nn.Module):
    """Views of a sample in one input ``(B, V, 3, H, W)``, flattened by the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.project, self.out = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        features = self.encoder(x.flatten(0, 1)).mean(dim=(2, 3))
        found = F.normalize(self.out(torch.relu(self.project(features))), dim=1)
        return found.reshape(-1, 2 * found.shape[1])


class MultiTask(nn.Module):
    """A trunk, and a dict of heads for two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(conv_block(3, 8), nn.MaxPool2d(2), conv_block(8, 8))
        self.heads = nn.ModuleDict({"class": nn.Linear(8, 3), "depth": nn.Conv2d(8, 1, 1)})

    def forward(self, x: Tensor) -> Any:
        x = self.trunk(x)
        return {"logits": self.heads["class"](x.mean(dim=(2, 3))), "depth": self.heads["depth"](x)}


class Excited(nn.Module):
    """Squeeze and excitation around a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.stem(x))
        found = self.conv(x)
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(found.mean(dim=(2, 3))))))
        return self.out(torch.relu(x + found * gate[:, :, None, None]).mean(dim=(2, 3)))


class SpatialTransformer(nn.Module):
    """An affine resampling that the network chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(nn.Conv2d(8, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.stem, self.affine = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(4, 6)
        self.conv, self.out = nn.Conv2d(8, 8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        theta = self.affine(self.where(x)).view(-1, 2, 3)
        x = F.grid_sample(x, F.affine_grid(theta, list(x.shape), False), align_corners=False)
        return self.out(torch.relu(self.conv(x)).mean(dim=(2, 3)))


class Crnn(nn.Module):
    """Convolutions, a GRU, and scores for CTC: time on the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv2d(3, 4, 3, padding=1), nn.GRU(64, 8, bidirectional=True)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.conv(x)).permute(3, 0, 1, 2).flatten(2)
        return self.out(self.gru(x)[0]).log_softmax(dim=2).transpose(0, 1)


def entries() -> Iterator[Entry]:
    """Yield the models."""
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
    yield case(
        "convolutions, InstanceNorm",
        lambda: Convolutions(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)),
        "norm second out",
        images,
    )
    yield case("MLP-Mixer", MlpMixer, "blocks.0.channels blocks.1.tokens out", images)
    yield case("ConvMixer", ConvMixer, "depthwise.0 pointwise.1 out", images)
    yield case("vision transformer", VisionTransformer, "blocks.0 blocks.2 norm out", images)
    yield case("capsules", Capsules, "primary out", images)
    yield case("siamese", Siamese, "encoder.2 compare out", lambda: (images(), images()))
    views = "encoder.1 project out"
    yield case("contrastive views", Contrastive, views, lambda: torch.randn(3, 2, 3, 16, 16))
    yield case("two tasks", MultiTask, "trunk.1 trunk.2 heads.depth", images)
    yield case("squeeze and excitation", Excited, "conv squeeze out", images)
    yield case("spatial transformer", SpatialTransformer, "where.0 affine conv out", images)
    yield case("CRNN with scores for CTC", Crnn, "gru out", images, axis=-1)
