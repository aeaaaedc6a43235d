"""Models of timm, at their smallest."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import timm
import torch
from timm.models import ConvMixer, MlpMixer
from timm.models.mlp_mixer import ResBlock

from .entry import Entry

CLASSES = 5
# Name in timm, cuts, and settings that make it thin.
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("resnet10t", "layer1 layer3 fc", {}),
    ("vit_tiny_patch16_224", "blocks.0 blocks.1 head", {"img_size": 32, "depth": 3}),
    ("deit_tiny_patch16_224", "blocks.0 blocks.1 head", {"img_size": 32, "depth": 3}),
    ("cait_xxs24_224", "blocks.1 blocks_token_only.0 head", {"img_size": 32, "depth": 2}),
    ("xcit_nano_12_p16_224", "blocks.0 blocks.1 head", {"img_size": 32, "depth": 2}),
    ("mobilenetv3_small_050", "blocks.1 blocks.3 classifier", {}),
    ("efficientnet_lite0", "blocks.1 blocks.3 classifier", {}),
    ("ghostnet_050", "blocks.2 blocks.5 classifier", {}),
    ("convnext_atto", "stages.1 stages.2 head", {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 32)}),
    ("regnetx_002", "s1 s3 head", {}),
    ("mobilevit_xxs", "stages.1 stages.3 head", {}),
    ("levit_128s", "stages.0.blocks.1 stages.1 head", {"img_size": 64}),
    ("hrnet_w18_small", "layer1 stage2 stage3 final_layer classifier", {}),
    ("repvgg_a0", "stages.1 stages.2 head", {}),
    ("dla46_c", "level2 level4 fc", {}),
]


def entries() -> Iterator[Entry]:
    """Yield the models."""
    for name, cuts, settings in MODELS:
        make = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES, **settings)
        yield _entry(name, make, cuts, settings.get("img_size", 64))
    patches: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "num_blocks": 3}
    mixer = partial(MlpMixer, CLASSES, **patches)
    yield _entry("MLP-Mixer", mixer, "blocks.0 blocks.1.mlp_channels head", 32)
    residual = partial(MlpMixer, CLASSES, **patches, block_layer=ResBlock, mlp_ratio=4)
    yield _entry("ResMLP", residual, "blocks.0 blocks.1 head", 32)
    convolutions = partial(ConvMixer, 16, 3, kernel_size=3, patch_size=8, num_classes=CLASSES)
    yield _entry("ConvMixer", convolutions, "blocks.0 blocks.1 head", 32)


def _entry(name: str, make: Any, cuts: str, size: int) -> Entry:
    return Entry("timm", name, make, partial(torch.randn, 3, 3, size, size), tuple(cuts.split()))
