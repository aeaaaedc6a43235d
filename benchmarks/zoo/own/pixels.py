"""Models with an output of each pixel: U-Nets, autoencoders, diffusion, detection."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..entry import Entry
from .examples import case, conv_block, images


class UNet(nn.Module):
    """A U-Net of lists, with a branch on shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList([conv_block(3, 4), conv_block(4, 8)])
        self.middle = conv_block(8, 8)
        self.ups = nn.ModuleList([conv_block(16, 4), conv_block(8, 4)])
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
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


class NestedUNet(nn.Module):
    """A U-Net++: a grid of nodes in a dict, and outputs at every depth."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = nn.ModuleDict(
            {
                "0_0": conv_block(3, 4), "1_0": conv_block(4, 4), "2_0": conv_block(4, 4),
                "0_1": conv_block(8, 4), "1_1": conv_block(8, 4), "0_2": conv_block(12, 4),
            }
        )  # fmt: skip
        self.outs = nn.ModuleList(nn.Conv2d(4, 2, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        found: dict[tuple[int, int], Tensor] = {}
        for depth in range(3):
            found[depth, 0] = x = self.nodes[f"{depth}_0"](x)
            x = F.max_pool2d(x, 2)
            for k in range(1, depth + 1):
                row = depth - k
                rise = F.interpolate(found[row + 1, k - 1], size=found[row, 0].shape[-2:])
                before = [found[row, j] for j in range(k)]
                found[row, k] = self.nodes[f"{row}_{k}"](torch.cat([*before, rise], dim=1))
        outputs = [out(found[0, k + 1]) for k, out in enumerate(self.outs)]
        return torch.stack(outputs).mean(dim=0)


class AttentionUNet(nn.Module):
    """A recursive U-Net with gates on its skips."""

    def __init__(self, inward: int = 3, width: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.down, self.gate = conv_block(inward, width), nn.Conv2d(2 * width, 1, 1)
        self.inner: nn.Module = (
            AttentionUNet(width, width, depth - 1) if depth else nn.Conv2d(width, width, 1)
        )
        self.up = conv_block(2 * width, width)

    def forward(self, x: Tensor) -> Any:
        skip = self.down(x)
        rise = F.interpolate(self.inner(F.max_pool2d(skip, 2)), size=skip.shape[-2:])
        gate = torch.sigmoid(self.gate(torch.cat([skip, rise], dim=1)))
        return self.up(torch.cat([skip * gate, rise], dim=1))


class Autoencoder(nn.Module):
    """Strided convolutions and transposed ones."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Any:
        return self.decoder(self.encoder(x))


class Variational(Autoencoder):
    """A variational autoencoder: mean, variance, and a draw."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.encoder(x)
        mean, log_variance = self.mean(x), self.log_variance(x)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return {"logits": self.decoder(drawn), "mean": mean, "log_variance": log_variance}


class Quantized(Autoencoder):
    """A codebook, with a gradient straight through the nearest code."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(12, 8)

    def forward(self, x: Tensor) -> Any:
        x = self.encoder(x)
        flat = x.permute(0, 2, 3, 1)
        nearest = torch.cdist(flat.reshape(-1, 8), self.codes.weight).argmin(dim=1)
        chosen = self.codes(nearest).reshape(flat.shape).permute(0, 3, 1, 2)
        code_loss = (chosen - x.detach()).pow(2).mean() + (chosen.detach() - x).pow(2).mean()
        return {"logits": self.decoder(x + (chosen - x).detach()), "code_loss": code_loss}


class MaskedAutoencoder(nn.Module):
    """A reconstruction from a random quarter of the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Linear(48, 16)
        self.positions = nn.Parameter(torch.randn(16, 16) / 50)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.gap = nn.Parameter(torch.zeros(1, 1, 16))
        self.decoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.out = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Any:
        x = self.patches(F.unfold(x, 4, stride=4).mT) + self.positions
        order = torch.rand(x.shape[:2]).argsort(dim=1)[..., None].expand_as(x)
        seen = self.encoder(x.gather(1, order[:, :4]))
        filled = torch.cat([seen, self.gap.expand(x.shape[0], 12, -1)], dim=1)
        return self.out(self.decoder(torch.zeros_like(x).scatter(1, order, filled)))


class SuperResolution(nn.Module):
    """Pixel shuffle, with the interpolated features as a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.out = nn.Conv2d(8, 32, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.out(F.pixel_shuffle(self.up(torch.relu(self.body(x))), 2) + larger)


class Diffusion(nn.Module):
    """A noise predictor with the time step in every block."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 16), nn.SiLU())
        self.stem, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
        self.shift, self.middle = nn.Linear(16, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor, step: Tensor) -> Any:
        rates = torch.exp(-torch.arange(4) / 2)
        angles = step[:, None] * rates
        time = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        skip = F.silu(self.stem(x))
        x = F.silu(self.down(skip)) + self.shift(time)[:, :, None, None]
        return self.out(torch.cat([skip, self.up(F.silu(self.middle(x)))], dim=1))


class FourierOperator(nn.Module):
    """Complex weights on the low frequencies, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.project = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(8, 8, 4, 4, dtype=torch.complex64) / 8) for _ in range(2)
        )
        self.skips = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        x = self.lift(x)
        for weight, skip in zip(self.weights, self.skips, strict=True):
            low = torch.fft.rfft2(x)[..., :4, :4]
            changed = torch.einsum("bihw,iohw->bohw", low, weight)
            x = F.gelu(torch.fft.irfft2(changed, s=(16, 16)) + skip(x))
        return self.project(x)


class Detector(nn.Module):
    """Boxes and classes from features of two scales, in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = conv_block(3, 8), conv_block(8, 8)
        self.boxes = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(2))
        self.classes = nn.ModuleList(nn.Conv2d(8, 3, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        low = F.max_pool2d(self.low(x), 2)
        scales = [low, F.max_pool2d(self.high(low), 2)]
        boxes = [head(x).flatten(2) for head, x in zip(self.boxes, scales, strict=True)]
        classes = [head(x).flatten(2) for head, x in zip(self.classes, scales, strict=True)]
        return {"logits": torch.cat(classes, dim=2), "boxes": torch.cat(boxes, dim=2)}


def _noised() -> tuple[Tensor, Tensor]:
    return images(), torch.tensor([1.0, 5.0, 9.0])


def entries() -> Iterator[Entry]:
    """Yield the models."""
    yield case("U-Net", UNet, "downs.1 middle ups.1", images)
    yield case("U-Net++", NestedUNet, "nodes.1_0 nodes.0_1 nodes.0_2 outs.1", images)
    gates = "inner inner.inner inner.up gate"
    yield case("attention U-Net, recursive", AttentionUNet, gates, images)
    yield case("autoencoder", Autoencoder, "encoder.2 decoder decoder.2", images)
    yield case("variational autoencoder", Variational, "mean decoder decoder.2", images)
    yield case("codebook", Quantized, "encoder.2 codes decoder", images)
    yield case("masked autoencoder", MaskedAutoencoder, "encoder decoder out", images, axis=-1)
    yield case("super-resolution", SuperResolution, "body up out", images)
    noisy = "down middle out"
    yield case("diffusion, time public", Diffusion, noisy, _noised, ("step",))
    yield case("diffusion", Diffusion, noisy, _noised)
    yield case("Fourier operator", FourierOperator, "skips.0 skips.1 project", images)
    yield case("detector of two scales", Detector, "high boxes.0 classes.0", images)
