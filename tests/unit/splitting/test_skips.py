"""Everything that the server half needs crosses: skips, encoder states, exits, sizes."""

import copy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import SplitError, list_cuts, split

from ...cutting import assert_same_as_uncut, crossing_of


class UNet(nn.Module):
    """Three levels, with a branch on data that no tracer can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.norm = nn.BatchNorm2d(4)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList([nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)])
        self.scores = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        first = F.gelu(self.norm(self.down[0](x)))
        second = F.gelu(self.down[1](F.max_pool2d(first, 2)))
        x = F.relu(self.middle(F.max_pool2d(second, 2)), inplace=True)
        for skip, up in zip((second, first), self.up, strict=True):
            x = F.interpolate(x, size=skip.shape[-2:])
            x = F.relu(up(torch.cat([skip, x], dim=1)))
        return self.scores(x)


@pytest.mark.sample
@pytest.mark.parametrize(
    ("at", "shapes"),
    [
        ("down.1", [(4, 4, 4), (4, 8, 8)]),
        ("middle", [(8, 2, 2), (4, 8, 8), (8, 4, 4)]),
        ("up.0", [(16, 4, 4), (4, 8, 8)]),
        ("up.1", [(8, 8, 8)]),
    ],
)
def test_a_u_net_is_cut_at_every_level(at: str, shapes: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    model = UNet()
    halves = split(model, at, torch.randn(2, 1, 8, 8))
    x = torch.randn(3, 1, 8, 8)
    assert [shape[1:] for shape, _ in crossing_of(halves, x)] == shapes
    assert_same_as_uncut(model, halves, x)


@pytest.mark.slow
def test_halves_can_be_copied_and_sent_to_the_actors_of_a_simulation() -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    torch.manual_seed(0)
    halves = split(UNet(), "up.0", torch.randn(2, 1, 8, 8))
    x = torch.randn(3, 1, 8, 8)
    for part in (halves.client, halves.server):
        part.eval()
    for other in (copy.deepcopy(halves), cloudpickle.loads(cloudpickle.dumps(halves))):
        assert torch.equal(other(x), halves(x))
        assert other.merged_state_dict().keys() == halves.merged_state_dict().keys()


@pytest.mark.slow
def test_a_u_net_is_listed_with_all_that_crosses() -> None:
    cuts = {cut.name: cut for cut in list_cuts(UNet(), torch.randn(2, 1, 8, 8))}
    assert cuts["middle"].smashed_shapes == ((8, 2, 2), (4, 8, 8), (8, 4, 4))
    assert list(cuts) == ["down.1", "norm", "middle", "up.0", "up.1", "scores"]


class Inner(nn.Module):
    """A block whose input is added to its output, behind the cut and again later."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
        self.way, self.scale = way, nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        if bool(h.isnan().any()):
            raise ValueError("not a number")
        match self.way:
            case "residual":
                h = h + self.b(h)
            case "in place":
                h = self.a(x)
                h += 1
                h = h * self.b(h)
            case "set":
                h = h.clone()
                h[:, 0] = 2 * h[:, 1]
                h = h * self.b(torch.relu(h))
            case "whole batch":
                h = self.b(h) + h.mean(dim=0)
            case "flattened":
                rows = h.view(-1, 2)
                h = self.b(h) + (rows * rows).view(-1, 4)
            case "parameter":
                gain = self.scale.exp()
                h = self.b(h * gain) * gain
            case "random":
                keep = (torch.rand(len(x), 1) < 0.8).float()
                h = self.b(h * keep) * keep
        return self.c(h)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["residual", "in place", "set", "whole batch", "flattened", "parameter", "random"]
)
def test_what_is_made_in_front_and_used_behind_crosses(way: str) -> None:
    torch.manual_seed(0)
    model = Inner(way)
    if way != "parameter":
        del model.scale
    halves = split(model, "b", torch.randn(3, 4))
    # The mean of a batch is of one size only if the batch is the whole one.
    assert_same_as_uncut(model, halves, torch.randn(5, 4))


def test_a_parameter_of_both_sides_is_refused_unless_frozen() -> None:
    class Scaled(Inner):
        def forward(self, x: Tensor) -> Tensor:
            if bool(x.isnan().any()):
                raise ValueError("not a number")
            return self.c(self.b(self.a(x) * self.scale) * self.scale)

    model = Scaled("")
    with pytest.raises(SplitError, match=r"'scale' is used on both sides of the cut 'b': freeze"):
        split(model, "b", torch.randn(3, 4))
    model.scale.requires_grad_(False)
    assert_same_as_uncut(model, split(model, "b", torch.randn(3, 4)), torch.randn(2, 4))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient * 2


def test_a_function_with_a_custom_backward_makes_an_argument() -> None:
    class Model(Inner):
        def forward(self, x: Tensor) -> Tensor:
            h = Doubled.apply(self.a(x))
            if bool(h.isnan().any()):
                raise ValueError("not a number")
            return self.c(self.b(h))

    torch.manual_seed(0)
    model = Model("")
    del model.scale
    assert_same_as_uncut(model, split(model, "b", torch.randn(3, 4)), torch.randn(5, 4))


class Exits(nn.Module):
    """Has an auxiliary exit in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.exit, self.b, self.c = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = torch.relu(self.a(x))
        early = self.exit(h) if self.training else None
        out = self.c(torch.relu(self.b(h)))
        return (out, early) if early is not None else out


def test_an_exit_in_training_crosses_too() -> None:
    torch.manual_seed(0)
    model = Exits()
    halves = split(model, "c", torch.randn(3, 4))
    assert len(crossing_of(halves, torch.randn(3, 4))) == 2
    assert_same_as_uncut(model, halves, torch.randn(5, 4))


class Sized(nn.Module):
    """Scores of each pixel at the input's size, as segmentation models give them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3, stride=2)
        self.scores = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        size, count = x.shape[-2:], x.size(0)
        h = torch.relu(self.stem(x))
        wide = h.shape[3] * 2
        h = torch.relu(self.deep(h))
        scores = F.interpolate(self.scores(h), size=size, mode="bilinear")
        return scores.reshape(count, 2, size[0], size[1]) * wide


@pytest.mark.slow
@pytest.mark.parametrize("at", ["deep", "scores"])
def test_sizes_cross_and_are_those_of_each_batch(at: str) -> None:
    torch.manual_seed(0)
    model = Sized()
    halves = split(model, at, torch.randn(2, 3, 16, 16))
    assert isinstance(halves.client, fx.GraphModule)
    others = (torch.randn(3, 3, 16, 16), torch.randn(2, 3, 24, 20), torch.randn(1, 3, 9, 33))
    assert_same_as_uncut(model, halves, *others)
    dtypes = [dtype for _, dtype in crossing_of(halves, others[0])]
    assert dtypes == [torch.float32] + [torch.int64] * (1 if at == "deep" else 2)
    smashed = halves.client.eval()(others[1])
    part = halves.server.eval()(*(tensor[:1] for tensor in smashed))
    assert part.shape == (1, 2, 24, 20)


@pytest.mark.slow
def test_models_of_torchvision_for_segmentation_are_listed() -> None:
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2
    )
    halves = split(model, "backbone.13", torch.randn(2, 3, 32, 32))
    with torch.no_grad():
        assert halves.server.eval()(*halves.client.eval()(torch.randn(2, 3, 48, 64)))[
            "out"
        ].shape == (2, 2, 48, 64)
