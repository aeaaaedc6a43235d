"""State that outlives a round, and the one way to undo what a round did to it."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .tensor_store import TensorStore


class State:
    """State of a strategy that a round can change.

    ``state_dict`` and ``load_state_dict`` are those of torch's ``Stateful`` protocol
    (``torch.distributed.checkpoint``). A :class:`Transaction` undoes changes with them, and a
    checkpoint nests what they return by the name that the strategy gives the state.

    Attributes
    ----------
    files : TensorStore
        The strategy's, which sets it: for tensors that need not be in memory.
    """

    files: TensorStore

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a round changes: dicts, lists, tensors, files and numbers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; the tensors may be kept."""

    def confirm(self, nodes: Mapping[int, int]) -> None:
        """Record that clients' nodes hold what the round sent them.

        Called at the end of a round that counts, with the node of each client whose reply
        counts.
        """

    def forget(self, clients: Iterable[int]) -> None:
        """Forget what clients' nodes hold: they may not have got it, or have lost it."""


class Transaction:
    """Restores named states to their values at the latest :meth:`save`.

    Tensors are copied, into the memory of the copy before: new memory takes ten times as long
    to write. Files of tensors never change and are only linked.

    Parameters
    ----------
    states : Mapping
        By name.
    """

    def __init__(self, states: Mapping[str, State]) -> None:
        self._states = dict(states)
        self._saved: dict[str, Any] = {}

    def save(self) -> None:
        """Copy the states' values."""
        now = {name: state.state_dict() for name, state in self._states.items()}
        self._saved = _copied(now, self._saved)

    def restore(self, *names: str) -> None:
        """Restore these states, by default all; the copy stays as it is.

        An optimizer steps on the very tensors that it loads, so it gets copies.
        """
        for name in names or self._states:
            self._states[name].load_state_dict(copy.deepcopy(self._saved[name]))

    def close(self) -> None:
        """Release the copies."""
        self._saved = {}


def _copied(value: Any, memory: Any) -> Any:
    """Return a copy of nested dicts, lists and tensors, in the memory of an older copy."""
    if isinstance(value, Tensor):
        if isinstance(memory, Tensor) and _is_alike(memory, value):
            return memory.copy_(value.detach())
        return value.detach().clone()
    if isinstance(value, dict):
        older = memory if isinstance(memory, dict) else {}
        return {key: _copied(inner, older.get(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner, None) for inner in value]
    return value


def _is_alike(left: Tensor, right: Tensor) -> bool:
    same_kind = left.dtype == right.dtype and left.device == right.device
    return same_kind and left.shape == right.shape and left.stride() == right.stride()
