"""Residual networks (He et al., 2015, table 1) with a 7×7 stem."""

from torch import nn


def resnet18(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return ResNet-18 with its 7×7 stem of stride 2 and max-pooling.

    Before ``layer3`` a 32×32 image is reduced to 128×4×4. The client half up to this cut has
    683,072 parameters for colour images.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``; ``C`` may be any number.
    num_classes : int
        Number of classes.
    """
    return _build("resnet18", image_shape[0], num_classes)


def resnet50(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return ResNet-50, which has bottleneck blocks; otherwise as :func:`resnet18`.

    Before ``layer3`` a 32×32 image is reduced to 512×4×4. The client half up to this cut has
    1,444,928 parameters for colour images.
    """
    return _build("resnet50", image_shape[0], num_classes)


def resnet152(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return ResNet-152, which has bottleneck blocks; otherwise as :func:`resnet18`.

    Before ``layer3`` a 32×32 image is reduced to 512×4×4. The client half up to this cut has
    2,565,184 parameters for colour images.
    """
    return _build("resnet152", image_shape[0], num_classes)


def _build(name: str, channels: int, num_classes: int) -> nn.Module:
    # Imported here because it imports torch._dynamo, which takes two CPU-seconds and is needed only
    # for training.
    from torchvision.models import get_model

    model: nn.Module = get_model(name, num_classes=num_classes)
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model
