"""Residual networks for 32×32 images (He et al., 2015, section 4.2)."""

from typing import cast

import torch
from torch import Tensor, nn

from .residual import PaddedShortcut, basic_stage, initialise


class CifarResNet(nn.Module):
    """A 3×3 stem without pooling and three stages of basic blocks, 6n + 2 layers deep.

    The stages have ``planes``, ``2 × planes`` and ``4 × planes`` channels; the second and third
    halve the image, and no shortcut has parameters (option A, as in the paper). Global average
    pooling and a linear layer follow.

    Parameters
    ----------
    channels : int
        Channels of the images.
    num_classes : int
        Number of classes.
    blocks : int
        Number of blocks per stage, ``n``.
    planes : int
        Channels of the first stage.
    """

    def __init__(self, channels: int, num_classes: int, blocks: int, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = basic_stage(planes, planes, blocks)
        self.layer2 = _halving_stage(planes, blocks)
        self.layer3 = _halving_stage(2 * planes, blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * planes, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores ``(B, num_classes)`` of images ``(B, C, H, W)``."""
        features = self.layer1(self.relu(self.bn1(self.conv1(images))))
        features = self.layer3(self.layer2(features))
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(features), 1)))


def cifar_resnet(
    image_shape: tuple[int, int, int], num_classes: int, *, depth: int, planes: int = 16
) -> nn.Module:
    """Return the residual network of ``depth`` layers for small images.

    With the cut before ``layer2``, the smashed data of a 32×32 image are ``planes × 32 × 32``.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``, of any size.
    num_classes : int
        Number of classes.
    depth : int
        Layers with weights, 6n + 2: 56, 110 and 1202 are in the paper's table 6.
    planes : int
        Channels of the first stage: 16 in He et al., 64 in FSL-SAGE's ResNet-110.

    Raises
    ------
    ValueError
        ``depth`` is not 6n + 2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth = {depth}: it must be 6n + 2, e.g. 20, 56 or 110")
    return CifarResNet(image_shape[0], num_classes, blocks, planes)


def _halving_stage(channels_in: int, blocks: int) -> nn.Sequential:
    shortcut = PaddedShortcut(channels_in, stride=2)
    return basic_stage(channels_in, 2 * channels_in, blocks, 2, shortcut)
