"""Randomised response: its probabilities, and that it is drawn once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.data import randomised_response

SECRET = bytes(range(32))


@given(
    labels=st.lists(st.integers(0, 3), max_size=40),
    epsilon=st.floats(0.01, 20),
    secret=st.binary(min_size=16, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_labels_stay_valid_and_the_same_secret_repeats_them(
    labels: list[int], epsilon: float, secret: bytes
) -> None:
    tensor = torch.tensor(labels, dtype=torch.int64)
    before = tensor.clone()
    found = randomised_response(tensor, 4, epsilon, secret)
    assert found.shape == tensor.shape
    assert found.dtype == tensor.dtype
    assert all(0 <= label < 4 for label in found.tolist())
    assert torch.equal(found, randomised_response(tensor, 4, epsilon, secret))
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("label", [0, 2])
def test_the_probabilities_differ_by_the_factor_that_epsilon_says(label: int) -> None:
    count, epsilon, classes = 60_000, 1.5, 4
    found = randomised_response(torch.full((count,), label), classes, epsilon, SECRET)
    shares = torch.bincount(found, minlength=classes) / count
    other = 1 / (math.exp(epsilon) + classes - 1)
    for value in range(classes):
        wanted = math.exp(epsilon) * other if value == label else other
        assert float(shares[value]) == pytest.approx(wanted, abs=4.5 * math.sqrt(0.25 / count))


def test_secrets_draw_differently_and_a_large_epsilon_changes_nothing() -> None:
    labels = torch.zeros(400, dtype=torch.int64)
    one, two = (randomised_response(labels, 10, 0.5, bytes([k]) * 32) for k in (1, 2))
    assert (one != two).float().mean() > 0.5
    assert torch.equal(randomised_response(labels, 10, 60.0, SECRET), labels)


@pytest.mark.parametrize(
    ("classes", "epsilon", "secret"),
    [(1, 1.0, SECRET), (4, 0.0, SECRET), (4, math.inf, SECRET), (4, 1.0, b"short")],
)
def test_what_would_protect_nothing_is_refused(classes: int, epsilon: float, secret: bytes) -> None:
    with pytest.raises(ValueError, match="at least 2, above 0 and at least 16 are needed"):
        randomised_response(torch.zeros(3).long(), classes, epsilon, secret)
