"""Models of segmentation_models_pytorch, with one small encoder."""

from collections.abc import Iterator
from functools import partial

import segmentation_models_pytorch as smp
import torch

from .entry import Entry

KINDS = ("Unet", "UnetPlusPlus", "FPN", "PAN", "Linknet", "PSPNet", "DeepLabV3Plus", "MAnet")
CUTS = ("encoder.layer2", "decoder", "segmentation_head")


def entries() -> Iterator[Entry]:
    """Yield the models."""
    for kind in KINDS:
        make = partial(getattr(smp, kind), "resnet18", encoder_weights=None, classes=3)
        size = 128 if kind == "PAN" else 64  # its pyramid pools three times more
        example = partial(torch.randn, 2, 3, size, size)
        yield Entry("segmentation_models_pytorch", kind, make, example, CUTS)
