import copy
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import (
    autocast,
    client_forward,
    client_step,
    estimated_gradients,
    estimated_step,
    server_step,
    split,
    true_gradients,
)

from ...tasks import CLASSIFICATION
from ...thin import SHAPE, thin_resnet

bf16 = partial(autocast, torch.device("cpu"), "bf16")


def sgd(module, lr=0.1):
    return torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)


def halves_of(model, at, example):
    halves = split(model, at, example)
    halves.client.train()
    halves.server.train()
    return halves


def small(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)
    )
    return halves_of(model, "3", torch.randn(4, 4)), model


def batch(count=8):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, torch.randint(3, (count,), generator=generator)


def assert_same_state(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_split_steps_are_the_joined_models_sgd_steps():
    torch.manual_seed(0)
    model = thin_resnet()
    joined = copy.deepcopy(model).train()
    halves = halves_of(model, "layer3", torch.randn(2, *SHAPE))
    client, server, whole = sgd(halves.client), sgd(halves.server), sgd(joined)
    for _ in range(2):
        x, labels = torch.randn(4, *SHAPE), torch.randint(10, (4,))
        whole.zero_grad()
        expected = F.cross_entropy(joined(x), labels)
        expected.backward()
        whole.step()

        smashed = client_forward(halves.client, x, nullcontext)
        sent = tuple(tensor.detach() for tensor in smashed)
        gradients = true_gradients(halves.server, sent, labels, CLASSIFICATION, 4)
        client_step(client, smashed, gradients, 4)
        loss = server_step(halves.server, server, sent, labels, CLASSIFICATION, nullcontext)
        assert loss == expected.item()
    assert_same_state(halves.merged_state_dict(), joined.state_dict())


def test_client_step_forgets_older_gradients():
    halves, _ = small()
    other, _ = small()
    x, labels = batch()
    for half, stale in ((halves, 100.0), (other, 0.0)):
        for parameter in half.client.parameters():
            parameter.grad = torch.full_like(parameter, stale)
        smashed = client_forward(half.client, x, nullcontext)
        sent = tuple(tensor.detach() for tensor in smashed)
        gradients = true_gradients(half.server, sent, labels, CLASSIFICATION, 8)
        client_step(sgd(half.client), smashed, gradients, 8)
    assert_same_state(halves.client.state_dict(), other.client.state_dict())


class Masked(nn.Module):
    """A floating-point mask without a graph crosses the cut ``b``, ``first`` or last."""

    def __init__(self, first):
        super().__init__()
        self.first, self.a, self.b = first, nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        if self.first:
            mask = (x > 0).float()
            h = self.a(x)
        else:
            h = self.a(x)
            mask = (x > 0).float()
        return self.b(h) * mask


@pytest.mark.parametrize("first", [True, False])
def test_a_floating_point_constant_may_cross(first):
    torch.manual_seed(0)
    model = Masked(first)
    joined = copy.deepcopy(model)
    halves = halves_of(model, "b", torch.randn(4, 4))
    x, labels = batch()
    smashed = client_forward(halves.client, x, nullcontext)
    assert len(smashed) == 2
    gradients = true_gradients(
        halves.server, tuple(t.detach() for t in smashed), labels, CLASSIFICATION, 8
    )
    client_step(sgd(halves.client), smashed, gradients, 8)
    F.cross_entropy(joined(x), labels).backward()
    sgd(joined).step()
    assert_same_state(halves.client.a.state_dict(), joined.a.state_dict())


def test_an_integer_tensor_that_crosses_is_passed_by():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            best = x.argmax(dim=1)
            return self.b(self.a(x)) + best[:, None]

    torch.manual_seed(0)
    model = Chosen()
    joined = copy.deepcopy(model)
    halves = halves_of(model, "b", torch.randn(4, 4))
    x, labels = batch()
    smashed = client_forward(halves.client, x, nullcontext)
    assert {tensor.dtype for tensor in smashed} == {torch.int64, torch.float32}
    sent = tuple(t.detach() for t in smashed)
    gradients = true_gradients(halves.server, sent, labels, CLASSIFICATION, 8)
    client_step(sgd(halves.client), smashed, gradients, 8)
    F.cross_entropy(joined(x), labels).backward()
    sgd(joined).step()
    assert_same_state(halves.client.a.state_dict(), joined.a.state_dict())


def test_estimated_step_follows_the_head_and_moves_the_client_half_only():
    halves, _ = small()
    by_hand, _ = small()
    torch.manual_seed(3)
    head = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).train()
    twin = copy.deepcopy(head)
    x, labels = batch()
    server_before = copy.deepcopy(halves.server.state_dict())

    smashed = estimated_step(
        halves.client, head, sgd(halves.client), (x, labels), CLASSIFICATION, nullcontext
    )

    z = by_hand.client(x)
    expected = z.detach().clone()
    optimizer = sgd(by_hand.client)
    leaf = expected.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(twin(leaf), labels) * 8, leaf)
    z.backward(gradient / 8)
    optimizer.step()

    assert len(smashed) == 1
    assert not smashed[0].requires_grad
    assert torch.equal(smashed[0], expected)  # as they were before the step
    assert_same_state(halves.client.state_dict(), by_hand.client.state_dict())
    assert not torch.equal(client_forward(halves.client, x, nullcontext)[0], expected)
    assert_same_state(halves.server.state_dict(), server_before)
    assert_same_state(head.state_dict(), twin.state_dict())
    assert all(parameter.grad is None for parameter in head.parameters())


def test_estimated_step_with_a_copied_head_is_the_joined_step():
    halves, model = small()
    joined = copy.deepcopy(model).train()
    head = copy.deepcopy(halves.server)
    x, labels = batch()
    estimated_step(
        halves.client, head, sgd(halves.client), (x, labels), CLASSIFICATION, nullcontext
    )
    F.cross_entropy(joined(x), labels).backward()
    sgd(joined).step()
    expected = joined.state_dict()
    assert_same_state(
        halves.client.state_dict(), {n: expected[n] for n in halves.client.state_dict()}
    )


@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_server_step_equals_a_step_written_out(optimizer_type):
    halves, _ = small()
    by_hand = copy.deepcopy(halves.server)
    ours = optimizer_type(halves.server.parameters(), lr=0.01, weight_decay=0.1)
    theirs = optimizer_type(by_hand.parameters(), lr=0.01, weight_decay=0.1)
    for seed in (4, 5):
        generator = torch.Generator().manual_seed(seed)
        z, labels = torch.randn(7, 6, generator=generator), torch.arange(7) % 3
        loss = server_step(halves.server, ours, (z,), labels, CLASSIFICATION, nullcontext)
        theirs.zero_grad()
        expected = F.cross_entropy(by_hand(z), labels)
        expected.backward()
        theirs.step()
        assert isinstance(loss, float)
        assert loss == expected.item()
        assert z.grad is None
    assert_same_state(halves.server.state_dict(), by_hand.state_dict())


def test_client_forward_keeps_the_graph_and_several_tensors():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x):
            return self.a(x), x.argmax(dim=1)

    smashed = client_forward(Two(), torch.randn(3, 4), nullcontext)
    assert isinstance(smashed, tuple)
    assert smashed[0].requires_grad
    assert smashed[1].dtype == torch.int64


def test_in_bf16_what_crosses_is_float32():
    halves, _ = small()
    seen = []
    halves.client.get_submodule("0").register_forward_hook(lambda *args: seen.append(args[2].dtype))
    halves.server.get_submodule("3").register_forward_hook(lambda *args: seen.append(args[2].dtype))
    x, labels = batch()
    smashed = client_forward(halves.client, x, bf16)
    assert smashed[0].dtype == torch.float32
    with bf16():
        gradients = estimated_gradients(
            halves.server, tuple(t.detach() for t in smashed), labels, CLASSIFICATION
        )
    assert gradients[0].dtype == torch.float32
    client_step(sgd(halves.client), smashed, gradients, 8)
    sent = tuple(t.detach() for t in smashed)
    server_step(halves.server, sgd(halves.server), sent, labels, CLASSIFICATION, bf16)
    assert seen == [torch.bfloat16] * 3
    for half in (halves.client, halves.server):
        assert {p.dtype for p in half.parameters()} == {torch.float32}
