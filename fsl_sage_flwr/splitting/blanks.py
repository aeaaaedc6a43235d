"""Values that a server half's replay computes with in place of those that do not cross the cut."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Attribute of a server half's module: names of its buffers that stand for the client's parameters.
STAND_INS = "fsl_sage_stand_ins"


class _Blanks(threading.local):
    level: float | None = None  # None: zeros
    greatest: bool = False
    delivered: frozenset[Any] = frozenset()


_blanks = _Blanks()


def blank(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros for what a module of the client half computes."""
    if _blanks.level is None:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.full(tuple(shape), int(_blanks.greatest), dtype=dtype, device=device)
    generator = torch.Generator().manual_seed(0)  # the replay's own random numbers stay
    drawn = _blanks.level * (1 + torch.rand(tuple(shape), generator=generator))
    return drawn.to(device=device, dtype=dtype)


def blank_input(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device, bounds: tuple[int, int]
) -> Tensor:
    """Return an input that the forward's functions accept, such as lengths of at least 1.

    ``bounds`` are the least and the greatest of the example's whole numbers.
    """
    if dtype.is_floating_point or dtype.is_complex:
        return blank(shape, dtype, device)
    return torch.full(tuple(shape), bounds[_blanks.greatest], dtype=dtype, device=device)


def bounds_of(example: Tensor) -> tuple[int, int]:
    """Return the least and the greatest of an example's whole numbers; 0 for other tensors."""
    if example.is_floating_point() or example.is_complex() or not example.numel():
        return 0, 0
    return int(example.min()), int(example.max())


@contextmanager
def other_blanks(server_half: nn.Module, level: float, *, greatest: bool) -> Iterator[None]:
    """Replay in this thread on other values; an output that they change depends on them.

    Floats, also of the client's parameters, are around ``level``; whole numbers of modules are 0,
    and those of inputs the example's least, or with ``greatest`` 1 and the example's greatest.
    """
    stand_ins = [
        module.get_buffer(name)
        for module in server_half.modules()
        for name in vars(module).get(STAND_INS, ())
    ]
    _blanks.level, _blanks.greatest = level, greatest
    try:
        with torch.no_grad():
            for tensor in stand_ins:
                tensor.copy_(blank(tensor.shape, tensor.dtype, tensor.device))
        yield
    finally:
        _blanks.level, _blanks.greatest = None, False
        with torch.no_grad():
            for tensor in stand_ins:
                tensor.zero_()


def note_delivered(places: Iterable[Any]) -> None:
    """Keep the places to which the last replay in this thread has delivered smashed data."""
    _blanks.delivered = frozenset(places)


def delivered() -> frozenset[Any]:
    """Return the places to which the last replay in this thread has delivered smashed data."""
    return _blanks.delivered
