"""Models that users bring: exact composition, complete state_dicts, either mode."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import as_tensors, build_auxiliary, split

from .test_splitter import assert_computes_the_same

IMAGES = (3, 32, 32)


class UNet(nn.Module):
    """Two skips: a cut in the middle lets three tensors cross."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.grow = nn.Upsample(scale_factor=2)
        self.up2 = nn.Conv2d(16, 4, 3, padding=1)
        self.up1 = nn.Conv2d(8, 4, 3, padding=1)
        self.scores = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        first = self.down1(images)
        second = self.down2(self.pool(first))
        middle = self.middle(self.pool(second))
        up = self.up2(torch.cat([self.grow(middle), second], dim=1))
        up = self.up1(torch.cat([self.grow(up), first], dim=1))
        return self.scores(up.mean(dim=(2, 3)))


def of_torchvision(name: str, **settings: Any) -> nn.Module:
    """Import torchvision where it is needed: it takes a second."""
    from torchvision import models

    model: nn.Module = getattr(models, name)(**settings)
    return model


def vit() -> nn.Module:
    return of_torchvision(
        "VisionTransformer", image_size=32, patch_size=8, num_layers=3, num_heads=2,
        hidden_dim=16, mlp_dim=32, num_classes=10,
    )  # fmt: skip


def googlenet() -> nn.Module:
    """Its forward has other outputs in training: it cannot be one graph."""
    return of_torchvision("googlenet", num_classes=10, aux_logits=True, init_weights=False)


# Model, cut, tensors that cross: their shapes for one sample.
MODELS: dict[str, tuple[Callable[[], nn.Module], str, list[tuple[int, ...]]]] = {
    "resnet18": (lambda: of_torchvision("resnet18", num_classes=10), "layer3", [(128, 4, 4)]),
    "resnet18, in a residual block": (
        lambda: of_torchvision("resnet18", num_classes=10),
        "layer3.0.conv2",
        [(128, 4, 4), (256, 2, 2)],
    ),
    "resnet50": (lambda: of_torchvision("resnet50", num_classes=10), "layer3", [(512, 4, 4)]),
    "mobilenet_v3_small": (
        lambda: of_torchvision("mobilenet_v3_small", num_classes=10),
        "features.4",
        [(24, 4, 4)],
    ),
    "efficientnet_b0": (
        lambda: of_torchvision("efficientnet_b0", num_classes=10),
        "features.4",
        [(40, 4, 4)],
    ),
    "vit": (vit, "encoder.layers.encoder_layer_1", [(17, 16)]),
    "convnext_tiny": (
        lambda: of_torchvision("convnext_tiny", num_classes=10),
        "features.4",
        [(192, 4, 4)],
    ),
    "densenet121": (
        lambda: of_torchvision("densenet121", num_classes=10),
        "features.denseblock2",
        [(128, 4, 4)],
    ),
    "u-net": (UNet, "middle", [(4, 32, 32), (8, 16, 16), (8, 8, 8)]),
}
SLOW = (
    "resnet18",
    "resnet50",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "densenet121",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODELS],
)
def test_halves_are_the_model(name: str) -> None:
    build, cut, shapes = MODELS[name]
    torch.manual_seed(0)
    model = build()
    halves = split(model, cut, torch.randn(2, *IMAGES))
    smashed = as_tensors(halves.client(torch.randn(3, *IMAGES)))
    assert sorted(tuple(t.shape[1:]) for t in smashed) == sorted(shapes)
    assert_computes_the_same(model, halves, torch.randn(3, *IMAGES))
    client, server = halves.client.state_dict(), halves.server.state_dict()
    assert not client.keys() & server.keys()
    fresh = build()
    fresh.load_state_dict(halves.merged_state_dict(), strict=True)
    assert list(fresh.state_dict()) == list(model.state_dict())
    head = build_auxiliary(halves.server, tuple(t.detach() for t in smashed), 10)
    assert head(*smashed).shape == (3, 10)


@pytest.mark.slow
def test_a_model_with_other_outputs_in_training_is_replayed() -> None:
    model = googlenet()
    halves = split(model, "inception4a", torch.randn(2, 3, 64, 64))
    assert type(halves.server).__name__ == "ServerHalf"
    inputs = torch.randn(3, 3, 64, 64)
    whole = copy.deepcopy(model).eval()(inputs)
    halves.client.eval()
    halves.server.eval()
    assert torch.equal(halves(inputs), whole)
    halves.client.train()
    halves.server.train()
    torch.manual_seed(1)
    ours = halves(inputs)
    torch.manual_seed(1)
    theirs = model.train()(inputs)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.aux_logits1, theirs.aux_logits1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_models_of_transformers_are_cut(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 32, "num_labels": 4,
    }  # fmt: skip

    class Scores(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs).logits

    if kind == "vit":
        config = transformers.ViTConfig(image_size=16, patch_size=4, **small)
        model = Scores(transformers.ViTForImageClassification(config))
        inputs, cut = torch.randn(3, 3, 16, 16), "inner.vit.encoder.layer.1"
    else:
        config = transformers.BertConfig(vocab_size=30, max_position_embeddings=12, **small)
        model = Scores(transformers.BertForSequenceClassification(config))
        inputs, cut = torch.randint(1, 30, (3, 8)), "inner.bert.encoder.layer.1"
    names = {name for name, _ in model.named_modules()}
    cut = cut if cut in names else next(n for n in names if n.endswith("layers.1"))
    halves = split(model, cut, inputs)
    assert_computes_the_same(model, halves, inputs.flip(0))


def test_a_model_of_timm_is_cut() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=10)
    halves = split(model, "layer3", torch.randn(2, *IMAGES))
    assert_computes_the_same(model, halves, torch.randn(3, *IMAGES))
