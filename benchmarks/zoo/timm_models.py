"""Models of timm, at their smallest."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import timm
import torch

from .entry import Entry

# Name in timm, cuts, and settings that make it thin.
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("resnet10t", "layer1 layer3 fc", {}),
    ("vit_tiny_patch16_224", "blocks.0 blocks.1 head", {"img_size": 32, "depth": 3}),
    ("deit_tiny_patch16_224", "blocks.0 blocks.1 head", {"img_size": 32, "depth": 3}),
    ("mobilenetv3_small_050", "blocks.1 blocks.3 classifier", {}),
    ("efficientnet_lite0", "blocks.1 blocks.3 classifier", {"channel_multiplier": 0.25}),
    ("convnext_atto", "stages.1 stages.2 head", {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 32)}),
    ("regnetx_002", "s1 s3 head", {}),
    ("mixer_s32_224", "blocks.0 blocks.1 head", {"img_size": 64, "num_blocks": 3, "embed_dim": 32}),
    ("resmlp_12_224", "blocks.0 blocks.1 head", {"img_size": 32, "num_blocks": 3, "embed_dim": 32}),
    ("convmixer_768_32", "blocks.0 blocks.1 head", {"dim": 16, "depth": 3}),
]


def entries() -> Iterator[Entry]:
    """Yield the models."""
    for name, cuts, settings in MODELS:
        size = settings.get("img_size", 64)
        yield Entry(
            "timm",
            name,
            partial(timm.create_model, name, pretrained=False, num_classes=5, **settings),
            partial(torch.randn, 3, 3, size, size),
            tuple(cuts.split()),
        )
