"""Make inputs with other values than the example's."""

from functools import cached_property

import torch
from torch import Tensor

from .errors import SplitError, running_the_model
from .whole import Whole


class OtherValues:
    """Inputs with other values than the example's, drawn when they are first needed.

    They reveal a forward that depends on its inputs' values, and smashed data that are inputs.

    Parameters
    ----------
    whole : Whole
        The uncut model.
    example : tuple of Tensor
        Inputs of a batch of at least two samples.

    Attributes
    ----------
    accepted : dict of int to bool
        By the ids of batches that the model has run on in train mode, whether it accepts them.
    """

    def __init__(self, whole: Whole, example: tuple[Tensor, ...]) -> None:
        self._whole, self._example = whole, example
        self.accepted: dict[int, bool] = {}

    @cached_property
    def _full(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        return tuple(_like(x, generator).to(x.device) for x in self._example)

    @cached_property
    def few(self) -> tuple[Tensor, ...] | None:
        """Fewer samples, and an odd number if the example's is even; None if it has one sample."""
        arguments = self._whole.arguments
        count = arguments.count(self._example)
        few = 1 if count == 2 else 2 + (count % 2 == 0)
        return None if count <= few else arguments.first(self._full, few)

    @cached_property
    def batches(self) -> list[tuple[Tensor, ...]]:
        """Batches that the model accepts in train mode: of few samples, and of the example's size.

        The first is the cheaper proof.
        """
        accepted = [] if self.few is None or not self._accepts(self.few) else [self.few]
        # The last one is tried only where nothing cheaper works.
        full = [self._full] if accepted or self._accepts(self._full) else []
        return [*accepted, *full]

    def _accepts(self, batch: tuple[Tensor, ...]) -> bool:
        if id(batch) not in self.accepted:
            self.accepted[id(batch)] = self._runs(batch)
        return self.accepted[id(batch)]

    def _runs(self, batch: tuple[Tensor, ...]) -> bool:
        try:
            with running_the_model("other values"), torch.no_grad():
                self._whole.run(batch, training=True)
        except SplitError:
            return False
        finally:
            self._whole.state.restore()
            self._whole.rng.restore()
        return True


def _like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if tensor.is_floating_point():
        return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
    if tensor.is_complex() or not tensor.numel():
        return tensor
    low, high = int(tensor.min()), int(tensor.max())
    if low == high:
        low, high = (1, high) if high > 1 else (0, 1)
    # Lengths and indices are valid within the example's range, and need not be outside it.
    return torch.randint(low, high + 1, tensor.shape, generator=generator).to(tensor.dtype)
