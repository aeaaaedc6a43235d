import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import (
    AlignmentRecipe,
    align,
    compare_gradients,
    estimated_gradients,
    true_gradients,
)

from ...tasks import CLASSIFICATION


def half(seed, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3)
    ).train()


@pytest.fixture
def alignment_set():
    generator = torch.Generator().manual_seed(3)
    smashed = (torch.randn(60, 6, generator=generator),)
    labels = torch.randint(3, (60,), generator=generator)
    server = half(1)
    return server, smashed, labels, true_gradients(server, smashed, labels, CLASSIFICATION, 60)


def distance(head, alignment_set):
    _, smashed, labels, true = alignment_set
    (estimate,) = estimated_gradients(copy.deepcopy(head), smashed, labels, CLASSIFICATION)
    return (estimate - true[0]).square().sum().item()


def fit(head, alignment_set, recipe, seed=0, optimizer=None, lr=1e-2):
    _, smashed, labels, true = alignment_set
    optimizer = optimizer or torch.optim.Adam(head.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(seed)
    align(head, optimizer, smashed, labels, true, CLASSIFICATION, recipe, generator)
    return optimizer


@pytest.mark.sample
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_alignment_brings_the_estimate_nearer(alignment_set, schedule):
    head = half(2)
    before = distance(head, alignment_set)
    fit(head, alignment_set, AlignmentRecipe(epochs=20, batch_size=20, schedule=schedule))
    assert distance(head, alignment_set) < 0.5 * before


def test_an_exact_copy_is_perfect_and_stays_so(alignment_set):
    server, smashed, labels, true = alignment_set
    head = copy.deepcopy(server)
    parameters = copy.deepcopy(dict(head.named_parameters()))
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    fit(head, alignment_set, AlignmentRecipe(epochs=2, batch_size=60), optimizer=optimizer)
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter, parameters[name], rtol=0, atol=1e-4)
    estimate = estimated_gradients(copy.deepcopy(server), smashed, labels, CLASSIFICATION)
    quality = compare_gradients(estimate, true)
    assert quality.cosine == pytest.approx(1.0, abs=1e-6)
    assert quality.relative_error == pytest.approx(0.0, abs=1e-6)


def test_one_step_is_the_gradient_of_the_summed_distance(alignment_set):
    _, smashed, labels, true = alignment_set
    head = half(2)
    expected = copy.deepcopy(head)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    leaf = smashed[0][order].clone().requires_grad_()
    loss = F.cross_entropy(expected(leaf), labels[order]) * 60
    (estimate,) = torch.autograd.grad(loss, leaf, create_graph=True)
    wanted = torch.autograd.grad(
        (estimate - true[0][order]).square().sum(), list(expected.parameters()), allow_unused=True
    )
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-3)
    recipe = AlignmentRecipe(epochs=1, batch_size=60, schedule="constant")
    fit(head, alignment_set, recipe, optimizer=optimizer)
    for ours, theirs, gradient in zip(
        head.parameters(), expected.parameters(), wanted, strict=True
    ):
        step = torch.zeros_like(theirs) if gradient is None else gradient
        torch.testing.assert_close(ours, theirs - 1e-3 * step)


def test_cosine_rates_and_the_rate_afterwards(alignment_set):
    head = half(2)
    optimizer = torch.optim.Adam(
        [{"params": head[0].parameters(), "lr": 0.1}, {"params": head[4].parameters(), "lr": 0.2}]
    )
    seen = []
    optimizer.register_step_pre_hook(
        lambda *_: seen.append([group["lr"] for group in optimizer.param_groups])
    )
    fit(head, alignment_set, AlignmentRecipe(epochs=2, batch_size=30), optimizer=optimizer)
    factors = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert seen == [[pytest.approx(0.1 * f), pytest.approx(0.2 * f)] for f in factors]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


def test_constant_rate_stays(alignment_set):
    head = half(2)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(optimizer.param_groups[0]["lr"]))
    recipe = AlignmentRecipe(epochs=2, batch_size=20, schedule="constant")
    fit(head, alignment_set, recipe, optimizer=optimizer)
    assert seen == [0.1] * 6


def test_each_epoch_takes_every_sample_once(alignment_set):
    _, smashed, _, _ = alignment_set
    seen = []
    head = half(2)
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    fit(head, alignment_set, AlignmentRecipe(epochs=2, batch_size=25))
    assert [len(batch) for batch in seen] == [25, 25, 10] * 2
    orders = []
    for epoch in (torch.cat(seen[:3]), torch.cat(seen[3:])):
        rows = [int((smashed[0] == row).all(dim=1).nonzero()) for row in epoch]
        assert sorted(rows) == list(range(60))
        orders.append(rows)
    assert orders[0] != orders[1]


def test_same_seed_same_bits_and_another_seed_another_order(alignment_set):
    heads = [half(2) for _ in range(3)]
    recipe = AlignmentRecipe(epochs=2, batch_size=20)
    for number, (head, seed) in enumerate(zip(heads, (5, 5, 6), strict=True)):
        torch.manual_seed(number)  # the global generator does not matter
        fit(head, alignment_set, recipe, seed=seed)
    first, same, other = (head.state_dict() for head in heads)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_gradients_are_compared_as_one_vector():
    ours = (torch.tensor([[3.0, 0.0]]), torch.tensor([0.0]))
    theirs = (torch.tensor([[3.0, 4.0]]), torch.tensor([12.0]))
    quality = compare_gradients(ours, theirs)
    assert quality.cosine == pytest.approx(9 / (3 * 13))
    assert quality.relative_error == pytest.approx(math.sqrt(16 + 144) / 13)


@pytest.mark.parametrize(
    ("scale", "cosine", "error"), [(1.0, 1.0, 0.0), (0.0, 0.0, 1.0), (2.0, 1.0, 1.0), (-1, -1, 2)]
)
def test_comparison_of_a_scaled_gradient(scale, cosine, error):
    true = (torch.tensor([1.0, 2.0, 2.0]),)
    quality = compare_gradients((scale * true[0],), true)
    assert quality.cosine == pytest.approx(cosine)
    assert quality.relative_error == pytest.approx(error)
