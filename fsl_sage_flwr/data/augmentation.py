"""Augment and normalise batches of images on the device.

Shapes: ``B`` images of ``C`` channels, ``H`` by ``W`` pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

AUGMENTATIONS = ("auto", "crop_flip", "none")
PADDING = 4

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad each image with zeros, crop it at random, and flip it with probability 1/2.

    Each image gets its own offset and flip, as with torchvision's per-sample
    ``RandomCrop(padding=4)`` and ``RandomHorizontalFlip``; one gather augments the whole batch.

    Parameters
    ----------
    images : Tensor
        ``(B, C, H, W)``, uint8.
    generator : torch.Generator
        CPU generator, so that the draws are the same on every device.

    Returns
    -------
    Tensor
        ``(B, C, H, W)``, uint8.
    """
    count, channels, height, width = images.shape
    tops, lefts = torch.randint(2 * PADDING + 1, (2, count), generator=generator)
    flips = torch.randint(2, (count,), generator=generator, dtype=torch.bool)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + lefts[:, None]
    rows = torch.arange(height) + tops[:, None]
    padded = F.pad(images, (PADDING, PADDING, PADDING, PADDING))
    stride = width + 2 * PADDING
    flat = (rows[:, :, None] * stride + columns[:, None, :]).flatten(1).to(images.device)
    index = flat[:, None, :].expand(count, channels, height * width)
    return padded.flatten(2).gather(2, index).reshape(count, channels, height, width)


def normalize(images: Tensor) -> Tensor:
    """Return normalised float32 images.

    Images of three channels use ImageNet's mean and standard deviation; all others are
    scaled to [-1, 1].
    """
    channels = images.shape[1]
    mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).view(1, -1, 1, 1)
    shift = torch.tensor(
        [m / s for m, s in zip(mean, std, strict=True)], device=images.device
    ).view(1, -1, 1, 1)
    return images.to(torch.float32, copy=True).mul_(scale).sub_(shift)
