"""Models of torchvision: classification, segmentation, video, a detector's backbone."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchvision.models as tv
from torch import Tensor, nn

from .entry import Entry

CLASSES = 5


def images(size: int = 32) -> Tensor:
    return torch.randn(3, 3, size, size)


class Backbone(nn.Module):
    """A thin backbone with the outputs that torchvision's segmentation heads read."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.low = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.high = nn.Sequential(
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Any:
        """Return the features by name."""
        low = self.low(x)
        return OrderedDict(zip(self.names, (low, self.high(low)), strict=True))


def _deeplab() -> Any:
    head = tv.segmentation.deeplabv3.DeepLabHead(16, 3, atrous_rates=(2, 3))
    return tv.segmentation.DeepLabV3(Backbone("low", "out"), head)


def _fcn() -> Any:
    heads = tv.segmentation.fcn.FCNHead(16, 3), tv.segmentation.fcn.FCNHead(8, 3)
    return tv.segmentation.FCN(Backbone("aux", "out"), *heads)


def _resnet() -> Any:
    return tv.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)


def entries() -> Iterator[Entry]:
    """Yield the models."""

    def case(name: str, make: Callable[[], nn.Module], cuts: str, size: int = 32) -> Entry:
        return Entry("torchvision", name, make, lambda: images(size), tuple(cuts.split()))

    yield case("ResNet, basic blocks", _resnet, "layer1 layer3 fc")
    yield case(
        "ResNeXt",
        lambda: tv.ResNet(
            tv.resnet.Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, groups=4, width_per_group=4
        ),
        "layer1 layer2.0.conv2 layer4",
    )
    yield case(
        "DenseNet",
        lambda: tv.DenseNet(8, (2, 2, 2), 16, num_classes=CLASSES),
        "features.denseblock1 features.denseblock2.denselayer2 features.denseblock3",
    )
    yield case(
        "MobileNetV2",
        lambda: tv.MobileNetV2(CLASSES, width_mult=0.25),
        "features.2 features.9.conv.1 classifier",
    )
    yield case(
        "MobileNetV3",
        lambda: tv.mobilenet_v3_small(num_classes=CLASSES, width_mult=0.25),
        "features.2 features.7 classifier",
    )
    yield case(
        "EfficientNet",
        lambda: tv.EfficientNet(
            [tv.efficientnet.MBConvConfig(2, 3, 2, 8, 16, 1, 0.25, 1.0)], 0.2, num_classes=CLASSES
        ),
        "features.1 features.1.0.block.1 classifier",
    )
    yield case(
        "ShuffleNetV2",
        lambda: tv.ShuffleNetV2([1, 1, 1], [8, 16, 16, 32, 32], num_classes=CLASSES),
        "stage2 stage3.0.branch2 fc",
    )
    yield case(
        "SqueezeNet",
        lambda: tv.SqueezeNet("1_1", CLASSES),
        "features.3 features.6.expand3x3 classifier",
    )
    yield case(
        "ConvNeXt",
        lambda: tv.ConvNeXt(
            [tv.convnext.CNBlockConfig(8, 16, 1), tv.convnext.CNBlockConfig(16, None, 1)],
            num_classes=CLASSES,
        ),
        "features.1 features.3 classifier",
    )
    yield case("MNASNet", lambda: tv.MNASNet(0.25, CLASSES), "layers.8 layers.10 classifier")
    yield case(
        "GoogLeNet with its auxiliary exits",
        lambda: tv.googlenet(aux_logits=True, init_weights=False, num_classes=CLASSES),
        "inception3a inception4b inception5b",
        64,
    )
    yield case(
        "ViT",
        lambda: tv.VisionTransformer(32, 8, 4, 2, 16, 32, num_classes=CLASSES),
        "encoder.layers.encoder_layer_0 encoder.layers.encoder_layer_2 heads",
    )
    yield case(
        "Swin",
        lambda: tv.SwinTransformer([2, 2], 8, [1, 2], [2, 2], [4, 4], num_classes=CLASSES),
        "features.1 features.3 head",
    )
    yield case(
        "MaxViT",
        lambda: tv.MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 8, 0.1, num_classes=CLASSES),
        "blocks.0 blocks.1 classifier",
    )
    yield case("DeepLabV3", _deeplab, "backbone.high classifier classifier.4", 16)
    yield case("FCN with an auxiliary head", _fcn, "backbone.high classifier", 16)
    yield case(
        "LR-ASPP",
        lambda: tv.segmentation.LRASPP(Backbone("low", "high"), 8, 16, 3, 8),
        "backbone.high classifier classifier.low_classifier",
        16,
    )
    yield Entry(
        "torchvision",
        "feature pyramid of a detector",
        lambda: tv.detection.backbone_utils.BackboneWithFPN(
            _resnet(), {"layer2": "0", "layer3": "1"}, [128, 256], 16
        ),
        images,
        ("body.layer2", "body.layer3", "fpn"),
        scores=lambda output: output["0"],
    )
    yield Entry(
        "torchvision",
        "R3D video",
        lambda: tv.video.VideoResNet(
            tv.video.resnet.BasicBlock,
            [tv.video.resnet.Conv3DSimple] * 4,
            [1, 1, 1, 1],
            tv.video.resnet.BasicStem,
            num_classes=CLASSES,
        ),
        lambda: torch.randn(2, 3, 4, 16, 16),
        ("layer1", "layer2", "layer4"),
    )
