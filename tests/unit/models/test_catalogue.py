import pytest
import torch
from torch import nn

from fsl_sage_flwr.models import CATALOGUE, ModelEntry, build_model, register_model
from fsl_sage_flwr.splitting import as_tensors, build_auxiliary, split

SHAPE = (3, 32, 32)
# client half, server half, head: parameters and bytes of the state_dict
SIZES = {
    "resnet18": ((683_072, 2_740_048), (10_498_570, 42_025_080), (2_102_282, 8_419_408)),
    "simple_conv": ((107_328, 429_312), (1_649_098, 6_596_392), (40_970, 163_880)),
}


def parts_of(name):
    torch.manual_seed(0)
    entry, example = CATALOGUE[name], torch.zeros(2, *SHAPE)
    halves = split(build_model(name, SHAPE, 10), entry.cut, example)
    smashed = tuple(tensor.detach() for tensor in as_tensors(halves.client(example)))
    head = build_auxiliary(halves.server, smashed, 10, entry.auxiliary)
    return halves.client, halves.server, head


def parameters_and_bytes(module):
    return (
        sum(parameter.numel() for parameter in module.parameters()),
        sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values()),
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_model_has_its_sizes_written_down(name):
    assert name in SIZES, f"add the sizes of {name} to this test"
    assert tuple(map(parameters_and_bytes, parts_of(name))) == SIZES[name]


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 64, 64)])
def test_models_take_any_number_of_channels_and_classes(name, shape):
    model = build_model(name, shape, 7).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


def test_simple_conv_takes_digits():
    assert build_model("simple_conv", (1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", CATALOGUE)
def test_initialisation_comes_from_the_global_generator(name):
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(torch.cat([p.flatten() for p in build_model(name, SHAPE, 3).parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_registered_model_is_built_by_name(monkeypatch):
    monkeypatch.setattr("fsl_sage_flwr.models.catalogue.CATALOGUE", dict(CATALOGUE))
    calls = []

    def build(shape, classes):
        calls.append((shape, classes))
        return nn.Linear(1, 1)

    register_model("mine", ModelEntry(build, cut="layer"))
    assert isinstance(build_model("mine", (1, 2, 3), 4), nn.Linear)
    assert calls == [((1, 2, 3), 4)]


def test_register_refuses_a_name_that_is_taken():
    before = dict(CATALOGUE)
    with pytest.raises(ValueError, match=r"model 'resnet18' is in the catalogue already"):
        register_model("resnet18", ModelEntry(lambda *_: nn.Linear(1, 1), cut="x"))
    assert before == CATALOGUE
