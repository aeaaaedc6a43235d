import pytest
import torch
from torch import nn

from fsl_sage_flwr.models.cifar_resnet import CifarResNet, cifar_resnet
from fsl_sage_flwr.models.residual import PaddedShortcut


def test_padded_shortcut_keeps_every_second_position_and_adds_channels_of_zeros():
    features = torch.arange(2.0 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    shortcut = PaddedShortcut(4, stride=2)(features)
    assert shortcut.shape == (2, 7, 3, 3)
    assert torch.equal(shortcut[:, :3], features[:, :, [0, 2, 4]][..., [0, 2, 4]])
    assert not shortcut[:, 3:].any()


def test_stages_halve_the_image_and_double_the_planes():
    model = CifarResNet(3, 10, blocks=1, planes=8)
    shapes = {}
    for name in ("relu", "layer1", "layer2", "layer3", "avgpool"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda *a, name=name: shapes.update({name: a[2].shape[1:]}))
    model(torch.zeros(2, 3, 32, 32))
    assert shapes == {
        "relu": (8, 32, 32),
        "layer1": (8, 32, 32),
        "layer2": (16, 16, 16),
        "layer3": (32, 8, 8),
        "avgpool": (32, 1, 1),
    }


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_depth_counts_the_layers_with_weights(depth):
    with torch.device("meta"):
        model = cifar_resnet((3, 32, 32), 10, depth=depth)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [2, 18, 57, 0, -4])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=rf"^depth = {depth}: it must be 6n \+ 2, e.g. 20, 56"):
        cifar_resnet((3, 32, 32), 10, depth=depth)
