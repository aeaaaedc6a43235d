"""Values that a server half's replay computes with in place of those that do not cross the cut."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class _Blanks(threading.local):
    level: float | None = None  # None: zeros, and each input's least value
    delivered: frozenset[Any] = frozenset()


_blanks = _Blanks()


def blank(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros for what a module of the client half computes."""
    if _blanks.level is None or not dtype.is_floating_point:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    return _drawn(_blanks.level, shape, dtype, device)


def blank_input(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device, bounds: tuple[int, int]
) -> Tensor:
    """Return an input that the forward's functions accept, such as lengths of at least 1.

    ``bounds`` are the least and the greatest of the example's whole numbers.
    """
    if dtype.is_floating_point:
        return blank(shape, dtype, device)
    value = bounds[_blanks.level is not None]
    return torch.full(tuple(shape), value, dtype=dtype, device=device)


def bounds_of(example: Tensor) -> tuple[int, int]:
    """Return the least and the greatest of an example's whole numbers; 0 for other tensors."""
    if example.is_floating_point() or example.is_complex() or not example.numel():
        return 0, 0
    return int(example.min()), int(example.max())


@contextmanager
def other_blanks(level: float) -> Iterator[None]:
    """Replay in this thread on other values: floats around ``level``, the greatest whole numbers.

    An output that they change depends on what the server half does not have.
    """
    _blanks.level = level
    try:
        yield
    finally:
        _blanks.level = None


def note_delivered(places: Iterable[Any]) -> None:
    """Keep the places to which the last replay in this thread has delivered smashed data."""
    _blanks.delivered = frozenset(places)


def delivered() -> frozenset[Any]:
    """Return the places to which the last replay in this thread has delivered smashed data."""
    return _blanks.delivered


def _drawn(level: float, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)  # the replay's own random numbers stay
    drawn = level * (1 + torch.rand(tuple(shape), generator=generator))
    return drawn.to(device=device, dtype=dtype)
