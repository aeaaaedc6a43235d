"""Everything that a pass may leave in a model is seen, and restored."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting.model_state import unchanged


class Keeps(nn.Module):
    """Has one thing of each kind that a forward can change."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("seen", torch.zeros(2))
        self.count, self.cache, self.history = 0, dict[str, Any](), [1, 2]
        self.marks, self.queue, self.nested = {1}, deque([1]), {"a": [0]}
        self.plain, self.change = torch.zeros(2), change

    def forward(self, x: Tensor) -> Tensor:
        self.change(self)
        return self.norm(self.linear(x))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a number": lambda m: setattr(m, "count", m.count + 1),
    "a new attribute": lambda m: setattr(m, "last", 1),
    "an attribute of a submodule": lambda m: setattr(m.linear, "last", 1),
    "an attribute less": lambda m: delattr(m, "count"),
    "a dict": lambda m: m.cache.update(key=1),
    "a list": lambda m: m.history.reverse(),
    "a set": lambda m: m.marks.add(2),
    "a deque": lambda m: m.queue.append(2),
    "a list in a dict": lambda m: m.nested["a"].append(1),
    "a buffer": lambda m: m.seen.add_(1),
    "another buffer": lambda m: setattr(m, "seen", torch.zeros(2)),
    "a tensor": lambda m: m.plain.add_(1),
    "a parameter": lambda m: m.linear.weight.data.mul_(2),
    "a parameter's memory": lambda m: setattr(m.linear.weight, "data", torch.zeros(4, 4)),
    "a hook": lambda m: m.linear.register_forward_hook(lambda *given: None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_until_it_is_undone(change: Callable[[Any], Any]) -> None:
    model = Keeps(change)
    with unchanged(model) as state:
        assert state.is_kept()
        with torch.no_grad():
            model.eval()(torch.randn(3, 4))
        assert not state.is_kept()
        state.restore()
        assert state.is_kept()


def test_a_pass_in_eval_mode_leaves_a_plain_model_as_it_was_and_one_in_train_mode_does_not() -> (
    None
):
    model = Keeps(lambda model: None)
    with unchanged(model) as state:
        model.eval()(torch.randn(3, 4)).sum().backward()
        assert state.is_kept()
        model.train()(torch.randn(3, 4))
        assert not state.is_kept()
