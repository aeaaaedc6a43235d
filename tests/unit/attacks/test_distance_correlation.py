"""Against the definition, and where the answer is known."""

import math

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.attacks import distance_correlation


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(x: list[list[float]], y: list[list[float]]) -> float:
    """Return the bias-corrected distance correlation squared, sum by sum (2014, def. 2 and 3)."""
    n = len(x)

    def centred(points: list[list[float]]) -> list[list[float]]:
        d = [[math.dist(p, q) for q in points] for p in points]
        total = sum(map(sum, d))
        columns = [sum(d[k][j] for k in range(n)) for j in range(n)]
        return [
            [
                0.0
                if i == j
                else d[i][j]
                - sum(d[i]) / (n - 2)
                - columns[j] / (n - 2)
                + total / ((n - 1) * (n - 2))
                for j in range(n)
            ]
            for i in range(n)
        ]

    def product(a: list[list[float]], b: list[list[float]]) -> float:
        return sum(a[i][j] * b[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 3))

    a, b = centred(x), centred(y)
    return product(a, b) / math.sqrt(product(a, a) * product(b, b))


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_definition(seed: int) -> None:
    x = normal(9, 3, seed=seed)
    y = x[:, :2].abs() + 0.7 * normal(9, 2, seed=seed + 100)
    square = by_hand(x.tolist(), y.tolist())
    assert distance_correlation(x, y) == pytest.approx(math.sqrt(max(square, 0.0)), rel=1e-6)


def test_a_shift_a_rotation_and_a_scale_leave_one() -> None:
    x = normal(60, 2, 4)
    rotation, _ = torch.linalg.qr(normal(8, 8, seed=1))
    y = 3 * x.reshape(60, 8) @ rotation + 5
    assert distance_correlation(x, y) == pytest.approx(1.0, abs=1e-5)
    assert distance_correlation(x, x) == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 1000])
def test_independent_vectors_have_almost_none_in_high_dimension_too(width: int) -> None:
    assert distance_correlation(normal(300, width), normal(300, width, seed=1)) < 0.15


def test_dependence_without_correlation_is_seen() -> None:
    x = normal(300, 1)
    y = x.square()
    assert abs(float(torch.corrcoef(torch.stack([x[:, 0], y[:, 0]]))[0, 1])) < 0.2
    assert distance_correlation(x, y) > 0.4


def test_more_noise_is_less_of_it() -> None:
    x = normal(200, 5)
    found = [distance_correlation(x, x + s * normal(200, 5, seed=1)) for s in (0.1, 1.0, 10.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.95


def test_what_never_changes_tells_nothing() -> None:
    assert distance_correlation(normal(10, 3), torch.ones(10, 2)) == 0.0


@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 4)])
def test_too_few_samples_or_unpaired_ones_are_refused(first: int, second: int) -> None:
    with pytest.raises(
        ValueError, match=f"{first} and {second} samples: both must have the same number"
    ):
        distance_correlation(normal(first, 2), normal(second, 2))
