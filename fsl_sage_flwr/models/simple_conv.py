"""Small convolutional network for a fast first run."""

from typing import cast

import torch
from torch import Tensor, nn


class SimpleConv(nn.Module):
    """Two convolutions and three linear layers, by default cut between them.

    Two 5×5 convolutions of 64 channels, each with ReLU, 3×3 max-pooling of stride 2 and
    local response normalisation, then 384, 192 and ``num_classes`` units.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)`` of the images; 32×32 gives smashed data of 4,096 features.
    num_classes : int
        Number of classes.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(image_shape[0], 64), *_convolution(64, 64), nn.Flatten()
        )
        with torch.no_grad():
            width = self.features(torch.zeros(1, *image_shape)).shape[1]
        self.classifier = nn.Sequential(
            nn.Linear(width, 384),
            nn.ReLU(),
            nn.Linear(384, 192),
            nn.ReLU(),
            nn.Linear(192, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of shape ``(B, num_classes)``."""
        return cast(Tensor, self.classifier(self.features(images)))


def _convolution(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        nn.LocalResponseNorm(4, alpha=0.001 / 9.0, beta=0.75, k=1.0),
    ]
