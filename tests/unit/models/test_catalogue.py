from contextlib import nullcontext
from functools import lru_cache
from unittest.mock import patch

import pytest
import torch
from torch import nn

from fsl_sage_flwr.models import MODELS, ModelEntry, build_model
from fsl_sage_flwr.splitting import as_tensors, build_auxiliary, estimated_step, split

from ...rows import rows
from ...tasks import CLASSIFICATION

SHAPE = (3, 32, 32)
# The same classes as resnet50 and resnet56, but seconds to prove.
LIGHT = [name for name in MODELS if name not in ("resnet152", "resnet1202")]


# client half, server half, head: parameters and bytes of the state_dict, 10 classes
SIZES = {
    "resnet18": ((683_072, 2_740_048), (10_498_570, 42_025_080), (2_102_282, 8_419_408)),
    "resnet50": ((1_444_928, 5_820_352), (22_083_594, 88_506_640), (7_808_010, 31_258_768)),
    "resnet152": ((2_565_184, 10_326_048), (55_599_114, 222_938_080), (43_228_170, 173_062_768)),
    "resnet56": ((42_512, 172_632), (810_506, 3_256_136), (162_762, 655_800)),
    "resnet110": ((1_333_568, 5_353_512), (26_203_658, 104_925_800), (5_245_194, 21_017_928)),
    "resnet1202": ((934_864, 3_793_992), (18_486_410, 74_259_240), (3_707_722, 14_936_488)),
    "simple_conv": ((107_328, 429_312), (1_649_098, 6_596_392), (40_970, 163_880)),
}
# FSL-SAGE's research script: client half, server half and head in MiB, and a sample's
# smashed data. A whole number is bytes.
FIGURES = {
    ("resnet18", 10): ((2.613, 40.078, 8.029), (128, 4, 4)),
    ("resnet18", 100): ((2.613, 40.254, 8.118), (128, 4, 4)),
    ("resnet50", 10): ((5.551, 84.407, 29.811), (512, 4, 4)),
    ("resnet50", 100): ((5.551, 85.110, 29.899), (512, 4, 4)),
    ("resnet56", 10): ((0.165, 3.105, 655_800), (16, 32, 32)),
    ("resnet56", 100): ((0.165, 3.128, 667_680), (16, 32, 32)),
    ("resnet110", 10): ((5.106, 100.065, 20.044), (64, 32, 32)),
    ("resnet110", 100): ((5.106, 100.153, 20.089), (64, 32, 32)),
    ("simple_conv", 10): ((429_312, 6_596_392, 163_880), (4096,)),
}


def halves_and_head(name, example, classes):
    entry = MODELS[name]
    halves = split(build_model(name, tuple(example.shape[1:]), classes), entry.cut, example)
    smashed = tuple(tensor.detach() for tensor in as_tensors(halves.client(example)))
    if callable(entry.auxiliary):
        return halves, smashed, entry.auxiliary(smashed, classes)
    return halves, smashed, build_auxiliary(halves.server, smashed, classes, entry.auxiliary)


@lru_cache
def sizes_of(name, classes):
    """Return (parameters, bytes) of halves and head, and the shape of the smashed data.

    On the meta device nothing is computed, so that there is nothing to prove the cut on.
    (For the deepest model alone it is slower than the CPU: its operators are Python's.)
    """
    device, shape = ("cpu", (3, 4, 4)) if name == "resnet1202" else ("meta", SHAPE)
    with torch.device(device), patch("fsl_sage_flwr.splitting.cutter.prove_halves"):
        halves, smashed, head = halves_and_head(name, torch.zeros(2, *shape), classes)
    parts = halves.client, halves.server, head
    return tuple(map(parameters_and_bytes, parts)), tuple(smashed[0].shape[1:])


def parameters_and_bytes(module):
    return (
        sum(parameter.numel() for parameter in module.parameters()),
        sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values()),
    )


def convolution(channels_in, channels_out, kernel):
    """Return the parameters of a convolution without bias and the BatchNorm after it."""
    return channels_in * channels_out * kernel**2 + 2 * channels_out


def bottleneck_resnet(blocks, classes):
    """Return the parameters in front of conv4_x and from it on (He et al., table 1)."""
    stages, width = [], 64
    for number, planes in zip(blocks, (64, 128, 256, 512), strict=True):
        shortcut = convolution(width, 4 * planes, 1)
        first, others = (
            convolution(before, planes, 1)
            + convolution(planes, planes, 3)
            + convolution(planes, 4 * planes, 1)
            for before in (width, 4 * planes)
        )
        stages.append(shortcut + first + (number - 1) * others)
        width = 4 * planes
    return convolution(3, 64, 7) + sum(stages[:2]), sum(stages[2:]) + (width + 1) * classes


def basic_stage(channels_in, channels_out, blocks):
    others = (2 * blocks - 1) * convolution(channels_out, channels_out, 3)
    return convolution(channels_in, channels_out, 3) + others


def small_image_resnet(depth, planes, classes):
    """Return the parameters of the halves, cut at the second stage, and of its head.

    He et al., section 4.2: 6n + 2 layers, shortcuts without parameters.
    """
    blocks = (depth - 2) // 6
    first, second, third = (
        basic_stage(before, after, blocks)
        for before, after in ((planes, planes), (planes, 2 * planes), (2 * planes, 4 * planes))
    )
    return (
        convolution(3, planes, 3) + first,
        second + third + (4 * planes + 1) * classes,
        second + (2 * planes + 1) * classes,
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_every_model_has_its_sizes_written_down(name):
    assert name in SIZES, f"add the sizes of {name} to this test"
    assert sizes_of(name, 10)[0] == SIZES[name]


@pytest.mark.slow
@rows(("name", "classes"), FIGURES, lambda row: row[0] in ("simple_conv", "resnet18"))
def test_sizes_are_the_published_scripts(name, classes):
    figures, shape = FIGURES[name, classes]
    sizes, smashed = sizes_of(name, classes)
    for (_, size), figure in zip(sizes, figures, strict=True):
        assert figure == (size if isinstance(figure, int) else round(size / 2**20, 3))
    assert smashed == shape


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks", "imagenet"),
    [("resnet50", (3, 4, 6, 3), 25_557_032), ("resnet152", (3, 8, 36, 3), 60_192_808)],
)
def test_bottleneck_resnets_are_those_of_table_1(name, blocks, imagenet):
    assert sum(bottleneck_resnet(blocks, 1000)) == imagenet  # torchvision's documentation
    head = basic_stage(512, 256, blocks[2]) + convolution(512, 256, 1) + 257 * 10
    sizes, _ = sizes_of(name, 10)
    assert tuple(number for number, _ in sizes) == (*bottleneck_resnet(blocks, 10), head)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "planes", "table_6"),
    [
        (56, 16, "0.85"),
        (110, 64, "1.73"),
        pytest.param(1202, 16, "19.42", marks=pytest.mark.slow),
    ],
)
def test_small_image_resnets_are_those_of_section_4_2(depth, planes, table_6):
    # The paper prints 0.85, 1.7 and 19.4 million for 16 planes.
    assert f"{sum(small_image_resnet(depth, 16, 10)[:2]) / 1e6:.2f}" == table_6
    sizes, _ = sizes_of(f"resnet{depth}", 10)
    assert tuple(number for number, _ in sizes) == small_image_resnet(depth, planes, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simple_conv", "resnet18", "resnet56"])
def test_halves_are_proven_and_the_client_steps_on_its_heads_estimate(name):
    torch.manual_seed(0)
    side = 8 if MODELS[name].cut == "layer2" else 32  # a stem without pooling is slower
    images, labels = torch.randn(3, 3, side, side), torch.tensor([0, 1, 2])
    halves, _, head = halves_and_head(name, images, 3)
    before = [parameter.clone() for parameter in halves.client.parameters()]
    heads = [parameter.clone() for parameter in head.parameters()]
    estimated_step(
        halves.client,
        head,
        torch.optim.SGD(halves.client.parameters(), lr=0.1),
        (images, labels),
        CLASSIFICATION,
        nullcontext,
    )
    for parameter, old in zip(halves.client.parameters(), before, strict=True):
        assert torch.equal(parameter, old.add(parameter.grad, alpha=-0.1))
        assert parameter.grad.any()
    assert all(map(torch.equal, head.parameters(), heads))


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("shape", [(1, 28, 28), (4, 64, 64)])
@pytest.mark.slow
def test_models_take_any_number_of_channels_and_classes(name, shape):
    with torch.device("meta"):
        model = build_model(name, shape, 7).eval()
        assert model(torch.zeros(2, *shape)).shape == (2, 7)


def test_simple_conv_takes_digits():
    assert build_model("simple_conv", (1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simple_conv", "resnet56"])
def test_initialisation_comes_from_the_global_generator(name):
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(torch.cat([p.flatten() for p in build_model(name, SHAPE, 3).parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_registered_model_is_built_by_name():
    calls = []

    def build(shape, classes):
        calls.append((shape, classes))
        return nn.Linear(1, 1)

    MODELS.register("mine", ModelEntry(build, cut="layer"))
    try:
        assert isinstance(build_model("mine", (1, 2, 3), 4), nn.Linear)
    finally:
        MODELS.remove("mine")
    assert calls == [((1, 2, 3), 4)]


def test_register_refuses_a_name_that_is_taken():
    before = dict(MODELS)
    with pytest.raises(ValueError, match=r"model 'resnet18' is registered already"):
        MODELS.register("resnet18", ModelEntry(lambda *_: nn.Linear(1, 1), cut="x"))
    assert before == dict(MODELS)
