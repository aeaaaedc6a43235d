import copy
import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.splitting import SplitError, SplitModel, as_tensors, split

from ...thin import SHAPE, thin_resnet

# The catalogue's ResNets are cut in models/test_catalogue.py and in test_architectures.py.
MODELS = {
    "thin resnet": (thin_resnet, SHAPE),
    "simple_conv": (partial(build_model, "simple_conv", (3, 32, 32), 10), (3, 32, 32)),
}
CUTS = {"thin resnet": ("layer3", "layer2.0.bn2"), "simple_conv": ("classifier", "features.4")}


def outputs_gradients_state(model, function, x, training, seed=7):
    """One pass and its gradients; ``model`` owns the parameters that ``function`` uses."""
    modules = [function.client, function.server] if isinstance(function, SplitModel) else [model]
    for module in modules:
        module.train(training)
    model.zero_grad()
    torch.manual_seed(seed)
    output = function(x)
    output.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return output, gradients, state


def assert_same_bits(left, right):
    assert torch.equal(left[0], right[0])
    for ours, theirs in ((left[1], right[1]), (left[2], right[2])):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name


def assert_computes_the_same(model, halves, x):
    uncut = copy.deepcopy(model)
    for training in (False, True):
        assert_same_bits(
            outputs_gradients_state(uncut, uncut, x, training),
            outputs_gradients_state(model, halves, x, training),
        )


@pytest.mark.slow
def test_a_copy_of_the_halves_holds_its_own_values_and_computes_the_same():
    model, x = thin_resnet(), torch.randn(2, *SHAPE)
    halves = split(model, "layer3", x)
    copied = copy.deepcopy(copy.deepcopy(halves))
    theirs = {tensor.data_ptr() for tensor in model.state_dict().values()}
    for half in (copied.client, copied.server):
        assert not theirs & {tensor.data_ptr() for tensor in half.state_dict().values()}
    both = outputs_gradients_state(model, halves, x, training=True)
    for parameter in model.parameters():
        parameter.data.zero_()  # nothing of it is in the copy
    twin = nn.ModuleList([copied.client, copied.server])
    output, gradients, _ = outputs_gradients_state(twin, copied, x, training=True)
    assert torch.equal(output, both[0])
    named = {name.partition(".")[2]: gradient for name, gradient in gradients.items()}
    assert_same_bits((output, named, {}), (both[0], both[1], {}))


class Forward(nn.Module):
    """Three linear layers, called as the test says."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name in "abc":
            setattr(self, name, nn.Linear(4, 4))
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def chain(self, x):
    return self.c(self.b(self.a(x)))


def cut_of(function, at="b", **modules):
    torch.manual_seed(0)
    model = Forward(function, **modules)
    return model, split(model, at, torch.randn(4, 4))


@pytest.mark.sample
@pytest.mark.parametrize(("name", "cut"), [(n, c) for n, cuts in CUTS.items() for c in cuts])
def test_halves_compute_what_the_model_computes(name, cut):
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = build()
    halves = split(model, cut, torch.randn(2, *shape))
    assert_computes_the_same(model, halves, torch.randn(3, *shape))


@pytest.mark.sample
@pytest.mark.parametrize(
    ("name", "cut"), [("thin resnet", "layer3"), ("simple_conv", "classifier")]
)
def test_state_dicts_are_disjoint_and_load_into_an_uncut_model(name, cut):
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = build()
    halves = split(model, cut, torch.randn(2, *shape))
    client, server = halves.client.state_dict(), halves.server.state_dict()
    assert not client.keys() & server.keys()
    assert all(not key.startswith(cut) for key in client)
    merged = halves.merged_state_dict()
    assert merged.keys() == model.state_dict().keys()
    fresh = build()
    fresh.load_state_dict(merged, strict=True)
    x = torch.randn(2, *shape)
    assert torch.equal(fresh.eval()(x), model.eval()(x))


def test_halves_share_the_models_parameters():
    model, halves = cut_of(chain)
    assert halves.client.a.weight is model.a.weight
    assert halves.server.c.bias is model.c.bias


@pytest.mark.parametrize("training", [False, True])
def test_split_leaves_the_model_as_it_was(training):
    torch.manual_seed(0)
    layers = (nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 4), nn.Linear(4, 2))
    model = nn.Sequential(*layers).train(training)
    before = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    halves = split(model, "3", torch.randn(8, 4, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.get_rng_state(), rng)
    for module in (*model.modules(), halves.client, halves.server):
        assert module.training == training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_dropout_draws_the_same_in_the_halves():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.Linear(6, 6), nn.Dropout())
    assert_computes_the_same(model, split(model, "2", torch.randn(4, 4)), torch.randn(16, 4))


def test_several_tensors_cross_the_cut():
    def residual(self, x):
        trunk, skip = self.a(x), torch.relu(self.c(x))
        return self.b(trunk) + skip

    model, halves = cut_of(residual)
    crossing = halves.client(torch.randn(3, 4))
    assert isinstance(crossing, tuple)
    assert len(crossing) == 2
    assert_computes_the_same(model, halves, torch.randn(5, 4))


def test_an_integer_tensor_may_cross():
    def chosen(self, x):
        h = self.a(x)
        best = h.argmax(dim=1)
        return self.c(self.b(h)) * best[:, None]

    model, halves = cut_of(chosen)
    assert [t.dtype for t in halves.client(torch.randn(3, 4))] == [torch.float32, torch.int64]
    assert_computes_the_same(model, halves, torch.randn(5, 4))


def test_server_half_may_begin_in_place():
    model, halves = cut_of(
        lambda self, x: self.c(self.b(self.act(self.a(x)))), "act", act=nn.ReLU(inplace=True)
    )
    smashed = torch.randn(5, 4).requires_grad_()
    kept = smashed.detach().clone()
    halves.server(smashed).sum().backward()
    assert torch.equal(smashed.detach(), kept)
    assert smashed.grad is not None
    assert_computes_the_same(model, halves, torch.randn(5, 4))


def test_a_parameter_of_the_model_itself_stays_on_its_side():
    model, halves = cut_of(
        lambda self, x: self.c(self.b(self.a(x) * self.scale)),
        scale=nn.Parameter(torch.full((4,), 3.0)),
    )
    assert "scale" in halves.client.state_dict()
    assert "scale" not in halves.server.state_dict()
    assert model.scale is halves.client.scale


def test_example_may_be_a_tuple_of_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x, y):
            return self.b(self.a(x) + y)

    model = Two()
    halves = split(model, "b", (torch.randn(2, 4), torch.randn(2, 4)))
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    assert torch.equal(halves(x, y), model(x, y))


@pytest.mark.sample
@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("layer33", r"cut 'layer33' is not a submodule of ResNet\. Did you mean 'layer3'\?"),
        ("zzzzzz", r"^cut 'zzzzzz' is not a submodule of ResNet\. Its children are: conv1, bn1"),
        ("", r"cut '' is not a submodule of ResNet"),
        ("conv1", r"raw input 'x' would cross the cut"),
    ],
)
def test_resnet_refuses_a_wrong_cut(at, message):
    model = build_model("resnet18", (3, 32, 32), 10)
    with pytest.raises(SplitError, match=message):
        split(model, at, torch.randn(2, 3, 32, 32))


def test_refuses_a_cut_that_is_never_called():
    with pytest.raises(SplitError, match=r"cut 'unused' is never called in forward"):
        cut_of(chain, "unused", unused=nn.Linear(4, 4))


def test_a_cut_at_a_list_of_modules_names_one_of_them():
    blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    with pytest.raises(SplitError, match=r"never called in forward; name one that it has: a\.1\.$"):
        cut_of(lambda self, x: self.c(self.b(self.a[1](self.a[0](x)))), "a", a=blocks)


def test_refuses_a_raw_input_used_behind_the_cut():
    with pytest.raises(SplitError, match=r"the raw input 'x' would cross the cut"):
        cut_of(lambda self, x: self.c(self.b(self.a(x))) + x)


@pytest.mark.parametrize(
    ("layers", "at", "side"),
    [
        ([nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2)], "1", "client half without a parameter"),
        ([nn.Linear(4, 4), nn.Linear(4, 2), nn.ReLU()], "2", "server half without a parameter to"),
    ],
)
def test_refuses_a_half_without_parameters(layers, at, side):
    message = f"cut '{at}' leaves the {side}"
    with pytest.raises(SplitError, match=message):
        split(nn.Sequential(*layers), at, torch.randn(2, 4))


def test_refuses_a_module_used_on_both_sides():
    with pytest.raises(SplitError, match=r"module 'a' is used on both sides of the cut 'b'"):
        cut_of(lambda self, x: self.c(self.a(self.b(self.a(x)))))


def test_a_module_that_holds_nothing_may_be_used_on_both_sides():
    model, halves = cut_of(
        lambda self, x: self.c(self.act(self.b(self.act(self.a(x))))), act=nn.ReLU()
    )
    assert_computes_the_same(model, halves, torch.randn(5, 4))


def test_refuses_weights_tied_across_the_cut():
    model = Forward(chain)
    model.c.weight = model.a.weight
    with pytest.raises(SplitError, match=r"tied across the cut 'b': a\.weight and c\.weight"):
        split(model, "b", torch.randn(4, 4))


def test_refuses_a_parameter_of_the_model_itself_used_on_both_sides():
    with pytest.raises(SplitError, match=r"scale"):
        cut_of(
            lambda self, x: self.c(self.b(self.a(x) * self.scale) * self.scale),
            scale=nn.Parameter(torch.ones(4)),
        )


def test_weights_tied_within_a_half_are_fine():
    model = Forward(chain)
    model.c.weight = model.b.weight
    halves = split(model, "b", torch.randn(4, 4))
    assert halves.server.c.weight is halves.server.b.weight
    assert halves.merged_state_dict().keys() == model.state_dict().keys()


def test_refuses_a_branch_on_a_raw_input_behind_the_cut():

    def forward(self, x):
        h = self.b(self.a(x))
        return self.c(h) if x.sum() > 0 else self.c(-h)

    with pytest.raises(SplitError, match=r"the raw input 'x' would cross the cut 'b'"):
        cut_of(forward)


def overflowing(self, x):
    """Return infinities of both signs in one column, and what they add up to in the other."""
    h = self.c(self.b(self.a(x)))[:, :1] * math.inf
    return torch.cat([h, h - h], dim=1)


def test_not_a_number_in_the_same_places_is_the_same():
    model = Forward(overflowing)
    output = split(model, "b", torch.randn(3, 4))(torch.randn(3, 4))
    assert output[:, 0].isinf().all()
    assert output[:, 1].isnan().all()


def test_not_a_number_hides_no_difference_beside_it():
    """What the forward remembers is no tensor's value: it differs from pass to pass."""

    def forward(self, x):
        h = self.b(self.a(x))
        self.passes = getattr(self, "passes", 0) + 1 + (type(self).__name__ == "ServerHalf")
        return torch.cat([h * self.passes, h * math.inf - h * math.inf], dim=1)

    with pytest.raises(SplitError, match=r"two passes of the uncut Forward in eval mode.*differ"):
        cut_of(forward)


def test_a_refused_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = Forward(lambda self, x: self.c(self.norm(self.b(self.a(x))) * x.sum().item()))
    model.norm = nn.BatchNorm1d(4)
    before = copy.deepcopy(model.state_dict())
    model.eval()
    with pytest.raises(SplitError):
        split(model, "b", torch.randn(4, 4))
    assert not any(module.training for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_as_tensors_takes_one_or_several():
    one, two = torch.zeros(1), torch.ones(2)
    assert as_tensors(one)[0] is one
    assert [id(t) for t in as_tensors([one, two])] == [id(one), id(two)]


INVALID = {("relu", "relu_"), ("relu_", "relu_")}
LAYERS = {
    "linear": lambda: nn.Linear(3, 3),
    "relu": lambda: nn.ReLU(),
    "relu_": lambda: nn.ReLU(inplace=True),
    "norm": lambda: nn.BatchNorm1d(3),
}


@settings(max_examples=40, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=6),
    cut=st.integers(0, 5),
    seed=st.integers(0, 2**31),
)
def test_any_cut_of_any_sequential_is_exact_or_refused(kinds, cut, seed):
    torch.manual_seed(seed)
    layers = [LAYERS[kind]() for kind in kinds]
    cut %= len(layers)
    # Torch itself cannot differentiate a ReLU whose output is overwritten.
    assume(all(pair not in INVALID for pair in pairwise(kinds)))
    model = nn.Sequential(*layers)
    example, x = torch.randn(4, 3), torch.randn(5, 3)

    def trains(part):
        return any(True for layer in part for _ in layer.parameters())

    if cut == 0:
        with pytest.raises(SplitError, match="raw input"):
            split(model, "0", example)
    elif not (trains(layers[:cut]) and trains(layers[cut:])):
        with pytest.raises(SplitError, match="without a parameter"):
            split(model, str(cut), example)
    else:
        halves = split(model, str(cut), example)
        client, server = halves.client.state_dict(), halves.server.state_dict()
        assert not client.keys() & server.keys()
        assert client.keys() | server.keys() == model.state_dict().keys()
        # A first in-place ReLU would change the input itself: give each pass its own.
        uncut = copy.deepcopy(model)
        for training in (False, True):
            assert_same_bits(
                outputs_gradients_state(uncut, uncut, x.clone(), training),
                outputs_gradients_state(model, halves, x.clone(), training),
            )


@pytest.mark.parametrize(
    ("model", "at", "words"),
    [
        (
            nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
            1,
            "at = 1: give the name .* such as '0'",
        ),
        ([nn.Linear(2, 2)], "0", "model is a list; give an nn.Module"),
    ],
)
def test_arguments_of_other_types_are_refused(model: Any, at: Any, words: str) -> None:
    with pytest.raises(SplitError, match=words):
        split(model, at=at, example=torch.zeros(2, 2))
