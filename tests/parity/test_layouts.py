"""What crosses the cut transposed is computed with as without a cut, bit for bit."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fsl_sage_flwr import split
from fsl_sage_flwr.splitting.layout import laid_out

from ..runs import assert_same, split_fed_v1, split_fed_v2, train
from ..tasks import CLASSES, small_task
from .test_split_fed import nodes_for, plain_loop


class Tokens(nn.Module):
    """A perceptron over the patches of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(9, 32), nn.Linear(32, 9)

    def forward(self, x: Tensor) -> Any:
        return x + self.second(nn.functional.gelu(self.first(x.mT))).mT


class Mixer(nn.Module):
    """Patches are rows of a transposed view, as in an MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 2, stride=2)
        self.tokens, self.more = Tokens(), Tokens()
        self.channels = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.scores = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.more(self.tokens(self.patches(x).flatten(2).transpose(1, 2)))
        return self.scores((x + self.channels(x)).mean(dim=1))


def mixed() -> dict[str, Any]:
    torch.manual_seed(7)
    model = Mixer()
    return {"model": split(model, "tokens", torch.randn(2, 1, 6, 6))}


@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2], ids=["V1", "V2"])
@pytest.mark.sample
def test_one_client_equals_the_plain_loop(make: Any) -> None:
    expected = plain_loop(small_task(**mixed()), 2)
    strategy = make(mixed())
    arrays = train(strategy, nodes_for(mixed(), 1), 2)
    halves = strategy.model_state(arrays)
    assert not halves[0].keys() & halves[1].keys()
    assert_same({**halves[0], **halves[1]}, expected)


@given(st.permutations(range(4)), st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_values_stay_and_the_order_of_axes_is_that_of_the_other(
    axes: list[int], sizes: list[int]
) -> None:
    like = torch.empty([2, 3, 4, 5]).permute(axes)
    tensor = torch.randn(sizes)
    found = laid_out(tensor, like)
    assert torch.equal(found, tensor)
    if min(sizes) > 1:
        assert sorted(range(4), key=lambda k: -found.stride(k)) == sorted(
            range(4), key=lambda k: -like.stride(k)
        )
