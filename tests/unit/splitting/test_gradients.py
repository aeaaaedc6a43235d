import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import estimated_gradients, split, true_gradients

from ...tasks import CLASSIFICATION
from ...thin import SHAPE, thin_resnet


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = thin_resnet()
    return model, split(model, "layer3", torch.randn(2, *SHAPE))


def norm_half():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).train()


def samples(count):
    generator = torch.Generator().manual_seed(2)
    smashed = (torch.randn(count, 6, generator=generator),)
    return smashed, torch.randint(3, (count,), generator=generator)


class TwoInputs(nn.Module):
    """A float and an integer tensor in."""

    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(5, 6), nn.Linear(6, 3)

    def forward(self, features, tokens):
        return self.linear(features + self.embedding(tokens))


def test_true_gradients_are_the_joined_models_per_sample(resnet):
    model, halves = resnet
    x, labels = torch.randn(8, *SHAPE), torch.arange(8)
    model.train()
    kept = []
    handle = model.layer2.register_forward_hook(lambda *args: kept.append(args[2]))
    joined = F.cross_entropy(model(x), labels, reduction="mean") * len(labels)
    handle.remove()
    (expected,) = torch.autograd.grad(joined, kept)
    halves.server.train()
    (got,) = true_gradients(halves.server, (kept[0].detach(),), labels, CLASSIFICATION, 8)
    assert torch.equal(got, expected)


def test_true_gradients_are_of_the_sum_of_the_losses():
    server, (smashed, labels) = nn.Linear(6, 3), samples(7)
    leaf = smashed[0].clone().requires_grad_()
    F.cross_entropy(server(leaf), labels, reduction="sum").backward()
    (got,) = true_gradients(server, smashed, labels, CLASSIFICATION, 7)
    torch.testing.assert_close(got, leaf.grad)


@pytest.mark.parametrize("batch_size", [2, 3, 7, 100])
def test_true_gradients_do_not_depend_on_the_batches_without_batchnorm(batch_size):
    server, (smashed, labels) = nn.Linear(6, 3), samples(7)
    (whole,) = true_gradients(server, smashed, labels, CLASSIFICATION, 7)
    (got,) = true_gradients(server, smashed, labels, CLASSIFICATION, batch_size)
    assert got.shape == smashed[0].shape
    torch.testing.assert_close(got, whole)


def test_true_gradients_normalise_over_each_batch_in_order():
    server, (smashed, labels) = norm_half(), samples(7)
    (got,) = true_gradients(server, smashed, labels, CLASSIFICATION, 3)
    for rows in (slice(0, 3), slice(3, 7)):  # the seventh sample joins the second batch
        # A view, no clone: where in memory rows begin decides about a product's last bit.
        leaf = smashed[0][rows].detach().requires_grad_()
        loss = F.cross_entropy(server(leaf), labels[rows]) * (rows.stop - rows.start)
        (expected,) = torch.autograd.grad(loss, leaf)
        assert torch.equal(got[rows], expected)
    (otherwise,) = true_gradients(server, smashed, labels, CLASSIFICATION, 4)
    assert (got - otherwise).abs().max() > 0.01


def test_true_gradients_leave_the_server_half_untouched(resnet):
    _, halves = resnet
    server = halves.server.train()
    before = copy.deepcopy(server.state_dict())
    smashed = (torch.randn(6, 8, 4, 4),)
    true_gradients(server, smashed, torch.arange(6), CLASSIFICATION, 3)
    for name, tensor in server.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in server.parameters())
    # The same forward pass would have moved the statistics.
    server(*smashed)
    assert not torch.equal(
        server.state_dict()["layer3.0.bn1.running_mean"], before["layer3.0.bn1.running_mean"]
    )
    server.load_state_dict(before)


def test_a_copied_head_estimates_the_true_gradient():
    server, (smashed, labels) = norm_half(), samples(8)
    server[1].running_mean.fill_(3.0)  # train mode does not look at it
    head = copy.deepcopy(server).train()
    (true,) = true_gradients(server, smashed, labels, CLASSIFICATION, 8)
    (estimated,) = estimated_gradients(head, smashed, labels, CLASSIFICATION)
    assert torch.equal(estimated, true)
    assert not torch.equal(head[1].running_mean, server[1].running_mean)


def test_integer_tensors_get_no_gradient():
    torch.manual_seed(0)
    server = TwoInputs()
    (features,), labels = samples(4)
    smashed = (features, torch.tensor([0, 1, 2, 3]))
    true = true_gradients(server, smashed, labels, CLASSIFICATION, 2)
    estimated = estimated_gradients(server, smashed, labels, CLASSIFICATION)
    assert [gradient.shape for gradient in true] == [(4, 6)]
    assert [gradient.shape for gradient in estimated] == [(4, 6)]
    torch.testing.assert_close(true[0], estimated[0])


def test_estimated_gradients_touch_neither_input_nor_head_gradients():
    head, (smashed, labels) = norm_half(), samples(4)
    estimated_gradients(head, smashed, labels, CLASSIFICATION)
    assert not smashed[0].requires_grad
    assert all(parameter.grad is None for parameter in head.parameters())


def test_only_create_graph_can_be_differentiated_again():
    head, (smashed, labels) = norm_half(), samples(4)
    (plain,) = estimated_gradients(head, smashed, labels, CLASSIFICATION)
    (graphed,) = estimated_gradients(head, smashed, labels, CLASSIFICATION, create_graph=True)
    assert not plain.requires_grad
    graphed.square().sum().backward()
    assert head[0].weight.grad.abs().sum() > 0


def test_a_tensor_that_a_head_ignores_has_a_gradient_of_zeros():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, used, ignored):
            return self.linear(used)

    smashed = (torch.randn(2, 4), torch.randn(2, 5))
    labels = torch.tensor([0, 2])
    for create_graph in (False, True):
        used, ignored = estimated_gradients(
            First(), smashed, labels, CLASSIFICATION, create_graph=create_graph
        )
        assert used.abs().sum() > 0
        assert torch.equal(ignored, torch.zeros(2, 5))
