"""Find where Python code reads the values of tensors, on which it may then depend."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
UNTAGGED = ("aten.equal.default", "aten._pack_padded_sequence.default")
# Functions that return no tensor, but no value of one either.
OF_SHAPE = ("size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset", "__len__",
            "is_floating_point", "is_complex", "is_signed", "is_contiguous", "is_conj", "is_neg",
            "is_inference", "is_same_size", "element_size", "get_device", "result_type",
            "can_cast", "promote_types", "__hash__")  # fmt: skip


class ValueReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations with a result, or a size of it, that Python code can branch on.

    These are reads of numbers (``item``), results with sizes that depend on values (``nonzero``),
    and operations that are not PyTorch's.

    Attributes
    ----------
    count : int
        Number of such operations.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self._reading: dict[Any, bool] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and count it."""
        if func not in self._reading:
            self._reading[func] = _reads(func)
        self.count += self._reading[func]
        return func(*args, **(kwargs or {}))


def _reads(operation: Any) -> bool:
    own, tags = getattr(operation, "namespace", "") == "aten", getattr(operation, "tags", ())
    return not own or str(operation) in UNTAGGED or any(tag in tags for tag in TAGS)


def returns_values(function: Callable[..., Any], output: Any) -> bool:
    """Return whether a function of tensors returns more than tensors, shapes and types."""
    name = getattr(function, "__name__", "")
    if name in OF_SHAPE:
        return False
    if name == "__get__":  # of a property
        return getattr(getattr(function, "__self__", None), "__name__", "__").startswith("__")
    return not only_tensors(output)


def only_tensors(value: Any) -> bool:
    """Return whether a value is None, a tensor, or a container of such."""
    if isinstance(value, dict):
        return all(map(only_tensors, value.values()))
    if isinstance(value, tuple | list):
        return all(map(only_tensors, value))
    return value is None or isinstance(value, Tensor)
