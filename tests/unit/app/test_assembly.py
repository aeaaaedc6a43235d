import copy

import pytest
import torch
from torch import nn

from fsl_sage_flwr.app.assembly import build_task, task_settings
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.models import MODELS, ModelEntry
from fsl_sage_flwr.splitting import AuxiliaryHead, flatten_state, restore_state


class Head(nn.Linear):
    """A user's head, not made of the server half's blocks."""


MINE = {"model": "mine", "device": "cpu"}


def build_model(image_shape, num_classes):
    return nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(64 * image_shape[0], 8)),
        nn.Sequential(nn.Linear(8, 6), nn.ReLU()),
        nn.Linear(6, num_classes),
    )


@pytest.fixture
def build():
    """Return a function from run-config keys to a new head for the model above."""

    def own(smashed, num_classes):
        return Head(smashed[0].shape[1], num_classes)

    MODELS.register("mine", ModelEntry(build_model, cut="1", auxiliary=own))

    def new_head(purpose=0, **keys):
        return build_task(RunConfig.unchecked({**MINE, **keys})).new_head(purpose)

    yield new_head
    MODELS.remove("mine")


def test_auto_is_the_catalogues_own_head(build):
    head = build()
    assert isinstance(head, Head)
    assert (head.in_features, head.out_features) == (8, 10)


def test_a_named_cut_that_is_the_catalogues_has_its_head(build):
    assert isinstance(build(cut="1"), Head)


def test_another_cut_has_a_head_of_its_server_halfs_blocks(build):
    head = build(cut="2")
    assert isinstance(head, AuxiliaryHead)
    assert head.linear.in_features == 6


def test_linear_is_linear_whatever_the_catalogue_says(build):
    head = build(auxiliary="linear")
    assert isinstance(head, AuxiliaryHead)
    assert head.body is None


def test_an_own_head_is_initialised_from_the_runs_seed_and_the_purpose(build):
    state = torch.get_rng_state()
    one, same, other, later = build(3), build(3), build(4), build(3, seed=201)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert not torch.equal(one.weight, later.weight)
    assert torch.equal(state, torch.get_rng_state())


def trained_by(optimizer, weights, steps):
    for step in range(steps):
        weights.grad = torch.full_like(weights, 0.1 * (step + 1))
        optimizer.step()


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("on_a_gpu", [False, True])
def test_adam_is_fused_on_a_gpu_and_goes_on_from_its_state(monkeypatch, name, on_a_gpu):
    monkeypatch.setattr(nn.Parameter, "is_cuda", on_a_gpu)
    settings = task_settings(RunConfig.unchecked({"optimizer": name, "device": "cpu"}))
    weights = nn.Parameter(torch.ones(3))
    optimizer = settings.training["client_optimizer"](iter([weights]))
    assert optimizer.param_groups[0]["fused"] is (True if on_a_gpu else None)
    trained_by(optimizer, weights, 2)
    again = nn.Parameter(weights.detach().clone())
    other = settings.training["client_optimizer"]([again])
    restore_state(other, copy.deepcopy(flatten_state(optimizer)))
    assert other.param_groups[0]["fused"] is optimizer.param_groups[0]["fused"]
    trained_by(optimizer, weights, 1)
    trained_by(other, again, 1)
    assert torch.equal(weights, again)
