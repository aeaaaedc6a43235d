"""Residual networks (He et al., 2015) for small images."""

from torch import nn
from torchvision.models import resnet


def resnet18(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return ResNet-18 with its 7×7 stem of stride 2 and max-pooling.

    A 32×32 image is 4×4 before ``layer3``; the client half in front of it has 683,072
    parameters for colour images.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``; ``C`` may be any number.
    num_classes : int
        Number of classes.
    """
    model: nn.Module = resnet.resnet18(num_classes=num_classes)
    channels = image_shape[0]
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model
