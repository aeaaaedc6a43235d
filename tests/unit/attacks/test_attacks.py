"""Each attack succeeds where it must, and guesses where there is nothing to find."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.attacks.label_inference import (
    accuracy_of,
    best_constant_accuracy,
    by_direction,
    by_norm,
    by_tail,
    first_of_each_class,
    gradients_sent_down,
)
from fsl_sage_flwr.attacks.membership import losses_of, membership_auc
from fsl_sage_flwr.attacks.model_inversion import invert
from fsl_sage_flwr.language.objective import next_token
from fsl_sage_flwr.language.scores import IGNORED
from fsl_sage_flwr.objective import classification

CLASSES = 5


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels_of(count: int, classes: int = CLASSES, seed: int = 1) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


def linear(inputs: int, outputs: int, seed: int = 2) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(layer.bias)
    return layer


def sent_down(half: nn.Module, smashed: Tensor, labels: Tensor, classes: int = CLASSES) -> Tensor:
    return gradients_sent_down(
        half, (smashed,), labels, classification(classes), 20, lambda: nullcontext()
    )


def test_gradients_are_those_of_each_batch() -> None:
    half, smashed, labels = linear(8, CLASSES), normal(33, 8), labels_of(33)
    found = sent_down(half, smashed, labels)
    scores = smashed @ half.weight.T
    wrong = scores.softmax(dim=1) - F.one_hot(labels, CLASSES)
    sizes = torch.tensor([20] * 20 + [13] * 13)
    torch.testing.assert_close(found, (wrong @ half.weight / sizes[:, None]).detach())


def test_an_untrained_linear_half_gives_every_label_away_by_direction() -> None:
    half = linear(40, CLASSES)
    with torch.no_grad():
        half.weight *= 0.01  # scores near zero: the gradient is the label's, whatever is sent
    smashed, labels = normal(200, 40), labels_of(200)
    gradients = sent_down(half, smashed, labels)
    known = first_of_each_class(labels)
    assert torch.equal(labels[known], torch.arange(CLASSES))
    inferred = by_direction(gradients, gradients[known], labels[known])
    assert torch.equal(inferred, labels)


def test_a_half_that_is_sure_of_one_class_gives_the_other_away_by_its_norm() -> None:
    """As in the paper, where one class is rare: its losses are large, and so its gradients."""
    half = linear(8, 2)
    with torch.no_grad():
        half.weight *= 0.01
        half.bias += torch.tensor([2.0, 0.0])
    smashed, labels = normal(200, 8), labels_of(200, 2)
    gradients = sent_down(half, smashed, labels, 2)
    known = first_of_each_class(labels)
    # Batches of 20: the known ones are of the same size.
    assert torch.equal(by_norm(gradients, gradients[known], labels[known]), labels)


def test_gradients_without_a_label_in_them_give_none_away() -> None:
    gradients, labels = normal(2000, 30), labels_of(2000)
    known = first_of_each_class(labels)
    guessing = best_constant_accuracy(labels)
    for attack in (by_norm, by_direction):
        right = accuracy_of(attack(gradients, gradients[known], labels[known]), labels)
        assert right == pytest.approx(1 / CLASSES, abs=0.04)
    assert 1 / CLASSES <= guessing < 0.25


@pytest.mark.slow
def test_a_map_that_loses_nothing_is_inverted() -> None:
    images = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    mixing = normal(25, 60, seed=3)

    def forward(inputs: Tensor) -> tuple[Tensor, ...]:
        return inputs.flatten(1) @ mixing, torch.ones(len(inputs)).long()

    found = invert(forward, forward(images), (1, 5, 5))
    assert found.shape == images.shape
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    error = float((found - images).square().mean())
    assert error < 0.1 * float((0.5 - images).square().mean())
    assert torch.equal(found, invert(forward, forward(images), (1, 5, 5)))


@pytest.mark.slow
def test_smashed_data_without_the_image_in_them_give_none_back() -> None:
    images = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    found = invert(lambda inputs: (inputs.flatten(1) * 0 + 1,), (torch.ones(4, 25),), (1, 5, 5))
    grey = (0.5 - images).square().mean()
    assert float((found - images).square().mean()) == pytest.approx(float(grey))


def test_a_model_that_has_learnt_its_images_by_heart_gives_its_members_away() -> None:
    members, others = normal(40, 60), normal(40, 60, seed=5)
    labels = labels_of(40)
    fresh = linear(60, CLASSES)
    by_heart = linear(60, CLASSES)
    optimizer = torch.optim.Adam(by_heart.parameters(), lr=0.1)
    for _ in range(100):
        loss = F.cross_entropy(by_heart(members), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    def auc(model: nn.Module) -> float:
        return membership_auc(losses_of(model, members, labels), losses_of(model, others, labels))

    assert auc(by_heart) > 0.95
    assert auc(fresh) == pytest.approx(0.5, abs=0.12)


def test_the_area_is_that_of_the_ranks() -> None:
    members, others = torch.tensor([0.1, 0.4]), torch.tensor([0.4, 0.9])
    assert membership_auc(members, others) == (1 + 1 + 0.5 + 1) / 4
    assert membership_auc(others, members) == 1 - (1 + 1 + 0.5 + 1) / 4
    assert membership_auc(members, torch.tensor([torch.inf, torch.nan])) > 0.4


def test_gradients_of_scores_are_labels() -> None:
    """Were the loss alone on the client: the label's entry is the only negative one."""
    scores, labels = normal(200, CLASSES), labels_of(200)
    gradients = sent_down(nn.Identity(), scores, labels)
    assert torch.equal(gradients.argmin(dim=1), labels)
    assert torch.equal((gradients < 0).sum(dim=1), torch.ones(200, dtype=torch.int64))


def test_an_attacker_with_the_tail_finds_every_label() -> None:
    tail = nn.Sequential(linear(20, 30), nn.ReLU(), linear(30, CLASSES, seed=3))
    hidden, labels = normal(200, 20), labels_of(200)
    gradients = sent_down(tail, hidden, labels)
    objective = classification(CLASSES)
    found = by_tail(tail, (hidden,), gradients, CLASSES, objective, 20, lambda: nullcontext())
    assert torch.equal(found, labels)
    other = nn.Sequential(linear(20, 30, seed=8), nn.ReLU(), linear(30, CLASSES, seed=9))
    missed = by_tail(other, (hidden,), gradients, CLASSES, objective, 20, lambda: nullcontext())
    assert accuracy_of(missed, labels) < 0.6


def test_a_language_models_public_scores_give_every_token_away() -> None:
    """Of the gradients at its hidden states: each learned position has one candidate per token."""
    objective = next_token(40, 6)
    head, hidden = linear(16, 40), normal(8, 6, 16).requires_grad_()
    tokens = labels_of(48, 40).view(8, 6)
    tokens[:, :2] = IGNORED
    count = objective.count(tokens)
    [gradients] = torch.autograd.grad(objective.mean_loss(head, (hidden,), tokens), hidden)
    learned = tokens[:, 1:] != IGNORED
    assert torch.equal(gradients[:, :-1].abs().sum(dim=2) > 0, learned)
    wrong = head(hidden[:, :-1]).softmax(dim=2)[..., None, :] - torch.eye(40)
    candidates = wrong @ head.weight / count
    distance = (candidates - gradients[:, :-1, None]).norm(dim=3)
    assert torch.equal(distance.argmin(dim=2)[learned], tokens[:, 1:][learned])
