"""Clipping and noise, against their definitions."""

import math

import pytest
import torch

from fsl_sage_flwr.splitting import (
    add_noise,
    clip_samples,
    seeded_normal,
    smashed_noise,
    unpredictable_normal,
)

MASK = torch.arange(12).reshape(4, 3)
TWO = (torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(1)), MASK, torch.arange(4.0))


def norm(tensors: tuple[torch.Tensor, ...], sample: int) -> float:
    values = [
        v for t in tensors if t.is_floating_point() for v in t[sample].double().flatten().tolist()
    ]
    return math.sqrt(sum(v * v for v in values))


def test_a_samples_floats_are_scaled_together_to_the_norm() -> None:
    limit = (norm(TWO, 1) + norm(TWO, 3)) / 2
    clipped = clip_samples(TWO, limit)
    for i in range(4):
        before = norm(TWO, i)
        for old, new in zip(TWO, clipped, strict=True):
            if not old.is_floating_point():
                assert torch.equal(new, old)
            elif before <= limit:
                assert torch.equal(new[i], old[i])
            else:
                torch.testing.assert_close(new[i], old[i] * (limit / before))
        assert norm(clipped, i) <= limit * (1 + 1e-6)
    assert {norm(TWO, i) <= limit for i in range(4)} == {True, False}


def test_a_zero_and_a_huge_sample() -> None:
    tensor = torch.stack([torch.zeros(3), torch.full((3,), 1e30)])
    (clipped,) = clip_samples((tensor,), 2.0)
    assert torch.equal(clipped[0], tensor[0])
    assert float(clipped[1].norm()) == pytest.approx(2.0)


def test_nan_stays_and_spoils_no_other() -> None:
    tensor = torch.tensor([[math.nan, 1.0], [3.0, 4.0], [math.nan, math.inf]])
    (changed,) = add_noise(clip_samples((tensor,), 1.0), 0.1, seeded_normal(0))
    assert changed.isnan().any(dim=1).tolist() == [True, False, True]


def test_infinite_values_are_clipped_as_if_they_grew_without_end() -> None:
    tensor = torch.tensor([[math.inf, 1.0, -math.inf], [3.0, 4.0, 0.0], [0.1, 0.2, 0.3]])
    beside = torch.tensor([5.0, math.inf, 0.1])
    clipped = clip_samples((tensor, MASK[:3], beside), 2.0)
    grown = torch.tensor([[1e25, 1.0, -1e25], [3.0, 4.0, 0.0], [0.1, 0.2, 0.3]])
    wanted = clip_samples((grown, MASK[:3], torch.tensor([5.0, 1e25, 0.1])), 2.0)
    for ours, theirs in zip(clipped, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [round(norm(clipped, i), 5) for i in (0, 1)] == [2.0, 2.0]
    assert torch.equal(clipped[0][2], tensor[2])
    (noised, _, _) = add_noise(clipped, 0.1, seeded_normal(0))
    assert torch.isfinite(noised).all()


def test_masks_alone_are_left_alone() -> None:
    assert torch.equal(clip_samples((MASK,), 1.0)[0], MASK)
    assert torch.equal(add_noise((MASK,), 1.0, seeded_normal(0))[0], MASK)


@pytest.mark.parametrize("normal", [unpredictable_normal, seeded_normal(5)])
def test_the_noise_is_gaussian(normal: smashed_noise.Normal) -> None:
    count = 200_000
    (noised,) = add_noise((torch.zeros(100, count // 100),), 0.3, normal)
    values = noised.flatten() / 0.3
    sixth = 1 / math.sqrt(count)
    assert abs(float(values.mean())) < 6 * sixth
    assert abs(float(values.std()) - 1) < 6 * sixth
    for z in (-2.0, -1.0, 0.0, 1.0, 2.0):
        share = float((values < z).double().mean())
        assert share == pytest.approx((1 + math.erf(z / math.sqrt(2))) / 2, abs=3 * sixth)
    halves = values.view(2, -1)
    assert abs(float((halves[0] * halves[1]).mean())) < 8 * sixth


def test_nobody_can_repeat_the_unpredictable_one() -> None:
    torch.manual_seed(0)
    first = unpredictable_normal(7)
    torch.manual_seed(0)
    assert first.shape == (7,)
    assert not torch.equal(first, unpredictable_normal(7))
    assert unpredictable_normal(0).shape == (0,)


def test_a_seed_repeats_and_large_tensors_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smashed_noise, "AT_ONCE", 5)
    asked = []

    def counting(count: int) -> torch.Tensor:
        asked.append(count)
        return torch.full((count,), float(len(asked)), dtype=torch.float64)

    noised = add_noise((torch.zeros(2, 3, 2), MASK, torch.zeros(2)), 0.5, counting)
    assert asked == [5, 5, 2, 2]
    assert noised[0].flatten().tolist() == [0.5] * 5 + [1.0] * 5 + [1.5] * 2
    tensors = (torch.ones(4, 3),)
    again = [add_noise(tensors, 1.0, seeded_normal(seed))[0] for seed in (3, 3, 4)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    assert torch.equal(tensors[0], torch.ones(4, 3))
