"""What is trained: a U-Net, where it is cut, and each client's images."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from fsl_sage_flwr import ClientIdentity, SplitTask, segmentation, split


def block(inward: int, outward: int) -> nn.Module:
    conv = nn.Conv2d(inward, outward, 3, padding=1)
    return nn.Sequential(conv, nn.GroupNorm(4, outward), nn.ReLU())


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = block(1, 8), block(8, 16), block(16, 16)
        self.up2, self.up1, self.out = block(32, 8), block(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.middle(F.max_pool2d(second, 2))
        x = self.up2(torch.cat([F.interpolate(x, scale_factor=2), second], dim=1))
        return self.out(self.up1(torch.cat([F.interpolate(x, scale_factor=2), first], dim=1)))


class Head(nn.Module):
    """The clients' head: smashed data to scores per pixel, as the server half's."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(8 + 16 + 16, 2, 1)  # two skips and the hidden state

    def forward(self, *smashed):
        size = max(tensor.shape[-2:] for tensor in smashed)
        return self.out(torch.cat([F.interpolate(tensor, size=size) for tensor in smashed], 1))


def data(test: bool):
    """Digits in noise; each pixel is of the digit (1) or not (0)."""
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:600, None] / 16
    noise = torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))
    keep = torch.arange(len(digits)) % 5 == 4
    rows = keep if test else ~keep
    return (digits + 0.3 * noise)[rows], (digits[:, 0] > 0.4).long()[rows]


def train_batches(client: ClientIdentity, seed: int):
    x, y = (part[client.partition_id :: client.num_partitions] for part in data(test=False))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return [(x[rows], y[rows]) for rows in order.split(16)]


def build_task(context) -> SplitTask:
    torch.manual_seed(0)  # every node begins with the same weights
    example = torch.zeros(2, 1, 8, 8)
    model = split(UNet(), at="middle", example=example)  # two skips cross with the hidden state
    return SplitTask(
        model, example, num_classes=None, train_batches=train_batches,
        objective=segmentation(2, (8, 8)), auxiliary=Head,
    )  # fmt: skip
