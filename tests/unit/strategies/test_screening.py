"""Who stands out among the replies of one place in a round."""

import pytest
import torch

from fsl_sage_flwr.messages import Reply, SmashedReply
from fsl_sage_flwr.messages.smashed import SmashedBatches
from fsl_sage_flwr.rounds.checks.norm_outliers import NormOutlierFilter


def smashed(norm: float) -> Reply:
    batch = (torch.full((2, 3), norm),), torch.zeros(2, dtype=torch.int64)
    return SmashedReply(smashed=SmashedBatches.join([batch]))


def noted(ratio: float, norms: dict[int, list[float]]) -> dict[int, str]:
    """Return who stands out; the last norm of each is that of its last reply."""
    screening = NormOutlierFilter(ratio)
    for client, of_client in norms.items():
        for place, norm in enumerate(of_client):
            is_last = place == len(of_client) - 1
            screening.record(client, smashed(norm), {}, is_last=is_last)
    return screening.outliers()


@pytest.mark.parametrize(
    ("norms", "found"),
    [
        ({0: [1.0, 1.0], 1: [1.0, 1.0], 2: [1.0, 1.0]}, []),
        ({0: [1.0, 1.0], 1: [9.0, 1.0], 2: [1.0, 1.0]}, [1]),
        # Later batches are larger: each is compared with those of its place.
        ({0: [1.0, 9.0, 1.0], 1: [1.0, 9.0, 1.0], 2: [1.0, 9.0, 1.0]}, []),
        # Fewer batches: the last replies are compared with one another.
        ({0: [1.0, 9.0, 1.0], 1: [1.0, 1.0], 2: [1.0, 9.0, 9.0]}, [2]),
        # Who stood out before does not lift the median that hides another one.
        (
            {
                0: [1.0, 1.0],
                1: [9.0, 9.0, 1.0],
                2: [1.0, 9.0, 1.0],
                3: [1.0, 1.0, 1.0],
                4: [1.0, 1.0, 1.0],
            },
            [1, 2],
        ),
        ({0: [1.0, 1.0], 1: [1.0, 1.0], 2: [9.0, 1.0], 3: [1.0, 9.0]}, [2, 3]),
    ],
)
def test_each_is_compared_with_the_others_of_its_place(
    norms: dict[int, list[float]], found: list[int]
) -> None:
    assert list(noted(3.0, norms)) == found
    assert list(noted(3.0, dict(reversed(norms.items())))) == found


def test_without_a_ratio_nobody_is_looked_at() -> None:
    assert noted(0.0, {0: [1.0], 1: [1.0], 2: [1e9]}) == {}
