"""DP-SGD of a client's steps: against gradients that are taken one sample at a time."""

import copy
from contextlib import nullcontext
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.objective import classification
from fsl_sage_flwr.splitting import (
    ClientPrivacy,
    SplitError,
    auxiliary_step,
    check_private_steps,
    client_forward,
    client_step,
    forget_sample_gradients,
    private_steps,
)

pytestmark = pytest.mark.skipif(
    find_spec("opacus") is None, reason="the extra privacy is not installed"
)

BATCH = 6
INPUTS = torch.randn(BATCH, 1, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(BATCH) % 3
FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture
def half() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten())


def head() -> nn.Module:
    torch.manual_seed(3)
    return nn.Linear(64, 3)


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=1.0)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def one_by_one(half: nn.Module, gradients: Tensor) -> Tensor:
    """Return each sample's gradient of the half's parameters, ``(B, P)``."""
    rows = []
    for sample, gradient in zip(INPUTS, gradients, strict=True):
        found = torch.autograd.grad(half(sample[None]), list(half.parameters()), gradient[None])
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def stepped(half: nn.Module, privacy: ClientPrivacy, gradients: Tensor) -> Tensor:
    """Return by how much one private step of plain SGD has moved the half."""
    before = flat(half)
    optimizer = privacy.optimizer(half, sgd(half))
    smashed = client_forward(half, INPUTS, nullcontext)
    client_step(optimizer, smashed, (gradients,), BATCH)
    return before - flat(half)


@pytest.mark.parametrize("of_images", FORMATS)
@pytest.mark.parametrize("of_weights", FORMATS)
def test_samples_have_their_gradients_in_any_memory_format(
    of_images: torch.memory_format, of_weights: torch.memory_format
) -> None:
    torch.manual_seed(4)
    images = torch.randn(BATCH, 3, 6, 6).to(memory_format=of_images)
    half = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 4, 3, stride=2))
    half.to(memory_format=of_weights)
    plain = copy.deepcopy(half)
    plain(images).sum().div(BATCH).backward()
    before, optimizer = flat(half), ClientPrivacy(1e6, 0.0, BATCH).optimizer(half, sgd(half))
    half(images).sum().div(BATCH).backward()
    optimizer.step()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    torch.testing.assert_close(before - flat(half), expected, rtol=1e-4, atol=1e-5)


def test_gradients_that_are_not_the_batchs_end_the_step(half: nn.Module) -> None:
    optimizer = ClientPrivacy(1.0, 0.0, BATCH).optimizer(half, sgd(half))
    client_forward(half, INPUTS, nullcontext)[0].sum().backward()
    half[0].weight.grad_sample *= 0
    before = flat(half)
    with pytest.raises(SplitError, match=r"shape \(4, 1, 3, 3\) do not add up"):
        optimizer.step()
    assert torch.equal(flat(half), before)


@pytest.mark.parametrize("clip_norm", [0.5, 3.0, 1e6])
def test_each_sample_is_clipped_by_itself(half: nn.Module, clip_norm: float) -> None:
    gradients = torch.randn(BATCH, 64) * torch.logspace(-2, 1, BATCH)[:, None]
    each = one_by_one(copy.deepcopy(half), gradients)
    norms = each.norm(dim=1, keepdim=True)
    if clip_norm < 1e6:
        assert (norms > clip_norm).any()
        assert (norms < clip_norm).any()
    expected = (each * (clip_norm / norms).clamp(max=1)).sum(dim=0) / 8
    moved = stepped(half, ClientPrivacy(clip_norm, 0.0, batch_size=8), gradients)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)


def test_the_noise_has_its_deviation_and_never_comes_twice(half: nn.Module) -> None:
    wide = nn.Linear(36, 4000)
    nothing, privacy = torch.zeros(BATCH, 4000), ClientPrivacy(0.5, 3.0, batch_size=BATCH)
    flattened = nn.Sequential(nn.Flatten(), wide)
    once, again = (stepped(flattened, privacy, nothing) for _ in range(2))
    assert once.std() == pytest.approx(3.0 * 0.5 / BATCH, rel=0.01)
    assert abs(torch.corrcoef(torch.stack([once, again]))[0, 1]) < 0.02


def test_half_and_head_share_the_norm_of_a_step(half: nn.Module) -> None:
    other, privacy = head(), ClientPrivacy(1e-3, 0.0, batch_size=1)
    optimizers = privacy.optimizer(half, sgd(half), 2), privacy.optimizer(other, sgd(other), 2)
    before = torch.cat([flat(half), flat(other)])
    batch = INPUTS[:1], LABELS[:1]
    auxiliary_step(half, other, optimizers, batch, classification(3), nullcontext)
    moved = before - torch.cat([flat(half), flat(other)])
    assert moved.norm() == pytest.approx(1e-3, rel=1e-3)


def test_a_pass_whose_gradients_never_came_leaves_nothing(half: nn.Module) -> None:
    gradients, privacy = torch.randn(BATCH, 64), ClientPrivacy(0.5, 0.0, BATCH)
    expected = stepped(copy.deepcopy(half), privacy, gradients)
    privacy.optimizer(half, sgd(half))
    client_forward(half, torch.randn(3, 1, 6, 6), nullcontext)
    assert torch.equal(stepped(half, privacy, gradients), expected)


def test_what_is_recorded_is_let_go(half: nn.Module) -> None:
    ClientPrivacy(1.0, 0.0, BATCH).optimizer(half, sgd(half))
    client_forward(half, INPUTS, nullcontext)[0].sum().backward()
    assert half[0].weight.grad_sample is not None
    forget_sample_gradients(half)
    client_forward(half, INPUTS, nullcontext)[0].sum().backward()
    assert not hasattr(half[0].weight, "grad_sample")
    assert not hasattr(half[0], "activations")


def test_the_half_has_no_other_names_than_before(half: nn.Module) -> None:
    names = list(half.state_dict())
    stepped(half, ClientPrivacy(1.0, 0.0, BATCH), torch.randn(BATCH, 64))
    assert list(half.state_dict()) == names
    assert list(copy.deepcopy(half).state_dict()) == names


def test_a_half_whose_samples_have_gradients_of_their_own_is_left_as_it_was(
    half: nn.Module,
) -> None:
    before, state = flat(half), torch.get_rng_state()
    check_private_steps(half, (INPUTS,), "client half")
    assert torch.equal(flat(half), before)
    assert torch.equal(torch.get_rng_state(), state)
    smashed = half(INPUTS)  # no hook records it
    assert not hasattr(half[0], "activations")
    assert smashed.requires_grad


class Shift(nn.Module):
    """A parameter that Opacus sees no gradient of, since no module's output depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(36, 4), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), self.layer.weight) + self.layer.bias


class Rows(nn.Module):
    """A layer that takes all rows of all images for separate samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.reshape(-1, 6)).reshape(len(images), -1)


class RunningMean(nn.Module):
    """Mixes nothing, but a buffer follows the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 2)
        self.follow = nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.follow(images).flatten(1))


@pytest.mark.parametrize(
    ("half", "said"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), "client half mixes the samples"),
        (Shift(), "'layer.weight' do not add up"),
        (Rows(), "'layer.weight' do not add up"),
        (RunningMean(), "the buffer 'follow.0.running_var' takes values from a batch"),
    ],
)
def test_what_has_none_is_refused(half: nn.Module, said: str) -> None:
    with pytest.raises(SplitError, match=said) as refused:
        check_private_steps(half, (torch.zeros(BATCH, 1, 6, 6),), "client half")
    assert str(refused.value).startswith("DP-SGD of the client's steps")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [(0.0, 1.0, 1), (float("inf"), 1.0, 1), (1.0, -1.0, 1), (1.0, float("nan"), 1), (1.0, 1.0, 0)],
)
def test_values_out_of_range_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ClientPrivacy(*wrong)


def test_a_missing_opacus_is_one_line(half: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_steps, "find_spec", lambda name: None)
    with pytest.raises(SplitError, match=r"^DP-SGD .* needs the extra: .*\[privacy\]"):
        ClientPrivacy(2.0, 1.0, 1).optimizer(half, sgd(half))


class Attention(nn.Module):
    """Attends by its definition; the bias of the keys has no effect on the result."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden: Tensor) -> Tensor:
        scores = self.q(hidden) @ self.k(hidden).transpose(1, 2)
        return hidden + scores.softmax(dim=-1) @ self.v(hidden)


class Placed(nn.Module):
    """Adds the embeddings of positions, which have no batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.attention = nn.Embedding(5, 8), Attention()

    def forward(self, hidden: Tensor) -> Tensor:
        return self.attention(hidden + self.places(torch.arange(5)))


def test_a_bias_without_effect_has_rounding_errors_for_gradients_and_is_no_reason() -> None:
    torch.manual_seed(0)
    example = (torch.randn(4, 5, 8),)
    check_private_steps(nn.Sequential(Attention(), nn.Linear(8, 8)), example, "client half")
    with pytest.raises(SplitError, match=r"per-sample gradients of 'places.weight' do not add up"):
        check_private_steps(Placed(), example, "client half")
    half = Placed()
    half.places.requires_grad_(False)
    check_private_steps(half, example, "client half")


def test_attention_with_keyword_arguments_is_refused_in_one_line() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with pytest.raises(SplitError, match=r"not possible for the client half: Multihead") as refused:
        check_private_steps(layer, (torch.randn(4, 5, 8),), "client half")
    assert "\n" not in str(refused.value)
