"""Count the floating-point operations of any code."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CountedFlops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating-point operations inside the context, by PyTorch's formulas.

    ``FlopCounterMode`` also tracks modules, by hooks that ``torch.autograd.grad`` refuses.

    Attributes
    ----------
    total : int
        Operations of matrix products and convolutions, of backward passes too.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # imports Triton, a third of a second

        super().__init__()  # type: ignore[no-untyped-call]
        self._formulas, self.total = flop_registry, 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and add its count."""
        named = kwargs or {}
        result = func(*args, **named)
        formula = self._formulas.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.total += int(formula(*args, **named, out_val=result))
        return result
