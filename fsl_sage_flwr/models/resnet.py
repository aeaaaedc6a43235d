"""Residual networks (He et al., 2015, table 1) with a 7×7 stem."""

from torch import nn


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
    return _build("resnet18", image_shape[0], num_classes)


def resnet50(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return ResNet-50, of bottleneck blocks; else as :func:`resnet18`.

    A 32×32 image is 512×4×4 before ``layer3``; the client half in front of it has
    1,444,928 parameters for colour images.
    """
    return _build("resnet50", image_shape[0], num_classes)


def resnet152(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return ResNet-152, of bottleneck blocks; else as :func:`resnet18`.

    A 32×32 image is 512×4×4 before ``layer3``; the client half in front of it has
    2,565,184 parameters for colour images.
    """
    return _build("resnet152", image_shape[0], num_classes)


def _build(name: str, channels: int, num_classes: int) -> nn.Module:
    # It imports torch._dynamo, two CPU-seconds, which else only a process that trains needs.
    from torchvision.models import get_model

    model: nn.Module = get_model(name, num_classes=num_classes)
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model
