"""What crosses the cut transposed is computed with as without a cut, bit for bit."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fsl_sage_flwr import split
from fsl_sage_flwr.messages import BadReplyError
from fsl_sage_flwr.messages.arrays import in_named_order, with_orders
from fsl_sage_flwr.rounds.server.server_half import OneServerHalf
from fsl_sage_flwr.splitting.layout import Order, laid_out, order_of

from ..runs import assert_same, cse_fsl, split_fed_v1, split_fed_v2, train
from ..tasks import CLASSES, small_task
from .test_server_pool import by_hand, uploads_of
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


class Rows(nn.Module):
    """Crosses transposed; its gradient is computed row by row, as in LeViT."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, 16, 2), nn.BatchNorm2d(16)
        self.tokens, self.more = nn.Linear(16, 16), nn.Linear(16, 16)
        self.scores = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.patches(x)).flatten(2).transpose(1, 2)
        return self.scores(self.more(torch.relu(self.tokens(x))).mean(dim=1))


def changes(kind: type[nn.Module], tail: str = "") -> dict[str, Any]:
    torch.manual_seed(7)
    return {"model": split(kind(), "tokens", torch.randn(2, 1, 6, 6), tail=tail)}


V1_AND_V2 = pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2], ids=["V1", "V2"])


@V1_AND_V2
@pytest.mark.parametrize("kind", [Mixer, Rows])
@pytest.mark.sample
def test_one_client_equals_the_plain_loop(make: Any, kind: type[nn.Module]) -> None:
    expected = plain_loop(small_task(**changes(kind)), 2)
    strategy = make(changes(kind))
    arrays = train(strategy, nodes_for(changes(kind), 1), 2)
    halves = strategy.model_state(arrays)
    assert not halves[0].keys() & halves[1].keys()
    assert_same({**halves[0], **halves[1]}, expected)


@pytest.mark.slow
@V1_AND_V2
@pytest.mark.parametrize("kind", [Mixer, Rows])
def test_hidden_states_and_their_gradients_keep_it_too(make: Any, kind: type[nn.Module]) -> None:
    optimizers = {"server_optimizer": partial(torch.optim.Adam, lr=1e-2)}  # one for all parts
    expected = plain_loop(small_task(**changes(kind), **optimizers), 2)
    setting = {**changes(kind, "more"), **optimizers}
    strategy = make(setting)
    arrays = train(strategy, nodes_for(setting, 1), 2)
    assert_same(strategy.task.model.joined(*strategy.model_state(arrays)), expected)


@pytest.mark.slow
def test_pooled_uploads_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, orders, plain = changes(Mixer), list[Order](), OneServerHalf._stepped

    def watched(half: OneServerHalf, tensors: tuple[Tensor, ...], *others: Any) -> float:
        orders.extend(map(order_of, tensors))
        return plain(half, tensors, *others)

    monkeypatch.setattr(OneServerHalf, "_stepped", watched)
    strategy, nodes = cse_fsl(setting, server_pool=True), nodes_for(setting, 3)
    train(strategy, nodes, 1)
    assert set(orders) == {(0, 2, 1)} == {order_of(strategy.task.smashed_example()[0])}
    expected = by_hand(small_task(**setting), uploads_of(nodes), 1)
    assert_same(strategy.state_dict()["server"]["half"], expected)


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4))
def test_a_message_keeps_values_and_order(axes: list[int], sizes: list[int]) -> None:
    tensor = torch.randn(sizes).permute(axes)
    [found] = in_named_order(with_orders([tensor])).values()
    assert torch.equal(found, tensor)
    assert found.stride() == tensor.stride() or 1 in sizes


@pytest.mark.parametrize("name", ["0:0,1", "0:0,0,1", "0:0,1,9"])
def test_a_name_with_another_order_is_refused(name: str) -> None:
    with pytest.raises(BadReplyError, match="no order of 3 axes"):
        in_named_order({name: torch.zeros(2, 3, 4)})


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
