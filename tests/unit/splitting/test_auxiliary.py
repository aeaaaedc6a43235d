import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.splitting import AuxiliaryHead, as_tensors, build_auxiliary, split


def cut_model(name, cut, num_classes=10):
    torch.manual_seed(0)
    example = torch.zeros(2, 3, 32, 32)
    halves = split(build_model(name, (3, 32, 32), num_classes), cut, example)
    return halves, tuple(t.detach() for t in as_tensors(halves.client.eval()(example)))


@pytest.fixture(scope="module")
def resnet():
    return cut_model("resnet18", "layer3")


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def storages(module):
    return {tensor.data_ptr() for tensor in module.state_dict().values()}


def blocks(*widths):
    """A server half of linear layers, each a child with a known number of parameters."""
    return nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in pairwise(widths)])


@pytest.mark.slow
def test_resnet_head_is_layer3_pool_and_linear(resnet):
    halves, smashed = resnet
    head = build_auxiliary(halves.server, smashed, 10)
    assert size(head) == 2_102_282
    assert {name.split(".")[0] for name in head.body.state_dict()} == {"layer3"}
    assert head.linear.weight.shape == (10, 256)
    assert head(*smashed).shape == (2, 10)


@pytest.mark.slow
def test_resnet_head_computes_pooled_layer3(resnet):
    halves, _ = resnet
    head = build_auxiliary(halves.server, (torch.zeros(2, 128, 4, 4),), 7).eval()
    head.copy_from(halves.server)
    z = torch.randn(3, 128, 4, 4)
    features = halves.server.eval().layer3(z)
    assert torch.equal(head(z), head.linear(features.mean(dim=(2, 3))))


@pytest.mark.slow
def test_head_shares_nothing_with_the_server_half(resnet):
    halves, smashed = resnet
    before = copy.deepcopy(halves.server.state_dict())
    mode = halves.server.training
    head = build_auxiliary(halves.server, smashed, 10)
    assert not storages(head) & storages(halves.server)
    assert not storages(head) & storages(build_auxiliary(halves.server, smashed, 10))
    assert halves.server.training == mode
    for name, tensor in halves.server.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.slow
def test_head_is_reinitialised_and_its_statistics_fresh(resnet):
    halves, _ = resnet
    halves.server.train()
    for buffer in halves.server.buffers():
        if buffer.is_floating_point():
            buffer.fill_(5.0)
    head = build_auxiliary(halves.server, (torch.randn(2, 128, 4, 4),), 10)
    theirs = halves.server.state_dict()
    for name, tensor in head.body.state_dict().items():
        if tensor.dim() == 4:
            assert not torch.equal(tensor, theirs[name]), name
        elif name.endswith("running_mean"):
            assert torch.equal(tensor, torch.zeros_like(tensor)), name
        elif name.endswith("running_var"):
            assert torch.equal(tensor, torch.ones_like(tensor)), name


def test_attention_is_reinitialised_too():
    torch.manual_seed(0)
    server = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(24, 40)
    )
    head = build_auxiliary(server, (torch.randn(2, 3, 8),), 4)
    matrices = {n: p for n, p in head.body.named_parameters() if p.dim() == 2}
    assert len(matrices) == 4
    theirs = dict(server.named_parameters())
    assert [n for n, p in matrices.items() if torch.equal(p, theirs[n])] == []


@pytest.mark.slow
def test_same_seed_same_head(resnet):
    halves, smashed = resnet
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(build_auxiliary(halves.server, smashed, 10).state_dict())
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert not torch.equal(heads[0]["linear.weight"], heads[2]["linear.weight"])


def test_a_fresh_copy_is_what_would_be_built_now():
    class Scaled(nn.Module):
        """Its scale cannot initialise itself."""

        def __init__(self):
            super().__init__()
            self.scale, self.norm = nn.Parameter(torch.ones(4)), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(self.scale * x)

    server, smashed = nn.Sequential(Scaled(), nn.Linear(4, 40)), (torch.randn(5, 4),)
    first = build_auxiliary(server, smashed, 3)
    for _ in range(2):  # something is trained in between
        server[0].scale.data += 1
        server[0].norm.running_mean += 1
        first.linear.weight.data += 1
        heads = []
        for make in (lambda: build_auxiliary(server, smashed, 3), lambda: first.fresh_copy(server)):
            torch.manual_seed(7)
            heads.append(make())
        built, another = (head.state_dict() for head in heads)
        assert built.keys() == another.keys()
        assert all(torch.equal(built[name], another[name]) for name in built)
        assert torch.equal(another["body.0.scale"], server[0].scale)
        assert not storages(heads[1]) & (storages(first) | storages(server))
        assert torch.equal(heads[0](*smashed), heads[1](*smashed))


def test_copy_from_takes_the_body_and_leaves_the_linear_layer(resnet):
    halves, smashed = resnet
    head = build_auxiliary(halves.server, smashed, 10)
    linear = head.linear.weight.clone()
    halves.server.layer3[0].bn1.running_mean.fill_(2.0)
    head.copy_from(halves.server)
    theirs = halves.server.state_dict()
    for name, tensor in head.body.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    assert torch.equal(head.linear.weight, linear)
    assert not storages(head) & storages(halves.server)


@pytest.mark.slow
def test_linear_head_of_simple_conv():
    halves, smashed = cut_model("simple_conv", "classifier")
    head = build_auxiliary(halves.server, smashed, 10, kind="linear")
    assert head.body is None
    assert size(head) == 40_970
    before = head.linear.weight.clone()
    head.copy_from(halves.server)
    assert torch.equal(head.linear.weight, before)


@pytest.mark.parametrize(
    ("widths", "body"),
    [
        ((4, 4, 4, 4), {"0.weight"}),  # 16 of 48; the second would make 67 %
        ((4, 4, 4, 4, 4), {"0.weight", "1.weight"}),  # 32 of 64 is 50 %
        ((4, 6, 4), {"0.weight"}),  # 24 of 48
        ((4, 6, 6, 2), {"0.weight"}),  # 24 of 72; 60 of 72 is too much
        ((6, 6, 4), {"0.weight"}),  # 36 of 60 is 60 % exactly: allowed
        ((7, 7, 4), None),  # 49 of 77 is 64 %
    ],
)
def test_body_uses_at_most_sixty_percent(widths, body):
    head = build_auxiliary(blocks(*widths), (torch.zeros(2, widths[0]),), 3)
    assert (None if head.body is None else set(head.body.state_dict())) == body


class Residual(nn.Module):
    """a, b and c of 20 parameters each, and d of five for each output."""

    def __init__(self, outputs):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
        self.d = nn.Linear(4, outputs)

    def forward(self, z):
        h = self.a(z)
        return self.d(self.b(h) + h + self.c(h))


def test_body_goes_on_to_where_branches_meet():
    server = Residual(12)  # up to the sum 60 of 120
    head = build_auxiliary(server, (torch.zeros(2, 4),), 3)
    assert {name.split(".")[0] for name in head.body.state_dict()} == {"a", "b", "c"}
    head.copy_from(server)
    z = torch.randn(5, 4)
    h = server.a(z)
    assert torch.equal(head(z), head.linear(server.b(h) + h + server.c(h)))


def test_body_does_not_end_between_branches():
    server = Residual(4)  # up to b 40 of 80, to c 60: but after b two tensors are live
    head = build_auxiliary(server, (torch.zeros(2, 4),), 3)
    assert set(head.body.state_dict()) == {"a.weight", "a.bias"}


def test_a_sequential_too_large_as_a_whole_is_opened():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = blocks(4, 4, 4, 4)

        def forward(self, z):
            return self.classifier(z)

    head = build_auxiliary(Wrapped(), (torch.zeros(2, 4),), 3)
    assert set(head.body.state_dict()) == {"classifier.0.weight"}


def test_a_server_half_of_one_layer_gets_a_linear_head():
    head = build_auxiliary(nn.Linear(4, 3), (torch.zeros(2, 4),), 3)
    assert head.body is None
    assert head(torch.randn(5, 4)).shape == (5, 3)


def test_an_untraceable_server_half_gets_a_linear_head():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, z):
            return self.b(self.a(z)) if z.sum() > 0 else self.a(z)

    assert build_auxiliary(Branch(), (torch.zeros(2, 4),), 3).body is None


@pytest.mark.parametrize(
    ("shape", "dims"), [((5, 6), ()), ((5, 3, 6), (1,)), ((5, 6, 2, 4), (2, 3))]
)
def test_pooling_of_vector_sequence_and_map(shape, dims):
    head = AuxiliaryHead(None, 6, 3)
    z = torch.randn(*shape)
    assert torch.equal(head(z), head.linear(z.mean(dim=dims) if dims else z))


def test_several_smashed_tensors_are_pooled_side_by_side():
    smashed = (torch.randn(4, 6), torch.arange(4), torch.randn(4, 2, 3, 3))
    head = build_auxiliary(nn.Linear(8, 3), smashed, 3, kind="linear")
    pooled = torch.cat([smashed[0], smashed[2].mean(dim=(2, 3))], dim=1)
    assert head.linear.in_features == 8
    assert torch.equal(head(*smashed), head.linear(pooled))


class Pair(nn.Module):
    """Returns two values."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, z):
        return self.linear(z), z


class OfPair(nn.Module):
    """Takes two values as one argument."""

    def __init__(self):
        super().__init__()
        self.wide, self.scores = nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, pair):
        return self.scores(self.wide(pair[0] + pair[1]))


def test_blocks_that_return_several_values_are_no_head():
    smashed = (torch.randn(2, 4),)
    head = build_auxiliary(nn.Sequential(Pair(), OfPair()), smashed, 3)
    assert head(*smashed).shape == (2, 3)
    assert head.body is None


def test_videos_are_pooled():
    head = build_auxiliary(nn.Linear(4, 3), (torch.randn(2, 4, 3, 5, 5),), 3, "linear")
    assert head.linear.weight.shape == (3, 4)
