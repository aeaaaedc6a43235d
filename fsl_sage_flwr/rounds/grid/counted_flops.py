"""Count the floating-point operations of a block, whatever it differentiates."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CountedFlops(TorchDispatchMode):
    """Adds up the floating-point operations of the block that it opens.

    Matrix products and convolutions are counted, by the formulas of PyTorch's ``FlopCounterMode``;
    a multiplication and an addition count as two. That class itself fails where a block takes the
    gradients of some tensors alone (``torch.autograd.grad``), because it attributes to modules.

    Attributes
    ----------
    total : int
        Floating-point operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # imports Triton, a third of a second

        self._formulas, self.total = flop_registry, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and add those of its formula."""
        kwargs = kwargs or {}
        formula: Callable[..., int] | None = self._formulas.get(func._overloadpacket)
        output = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=output)
        return output
