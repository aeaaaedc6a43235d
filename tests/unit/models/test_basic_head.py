import torch

from fsl_sage_flwr.models.basic_head import basic_head
from fsl_sage_flwr.splitting import estimated_gradients

from ...tasks import CLASSIFICATION

SMASHED = (torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0)),)


def head(seed=0):
    torch.manual_seed(seed)
    return basic_head(SMASHED, 3, blocks=2)


def test_the_stage_halves_channels_and_positions():
    assert head()[0](*SMASHED).shape == (4, 4, 3, 3)
    assert head()(*SMASHED).shape == (4, 3)
    assert len(head()[0]) == 2


def test_it_is_random_by_the_global_generator_and_copies_nothing():
    states = [torch.cat([p.flatten() for p in head(seed).parameters()]) for seed in (1, 1, 2)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert not hasattr(head(), "copy_from")


def test_its_estimate_can_be_aligned():
    model, labels = head(), torch.tensor([0, 1, 2, 0])
    (estimate,) = estimated_gradients(model, SMASHED, labels, CLASSIFICATION, create_graph=True)
    assert estimate.shape == SMASHED[0].shape
    estimate.pow(2).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
