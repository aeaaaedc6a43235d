"""Read the inputs of a model: one tensor, several, or a mapping of arguments by name."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .errors import SplitError

Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


def as_tensors(value: Inputs) -> tuple[Tensor, ...]:
    """Return one tensor, several, or those of a mapping in the order of its sorted keys."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, Mapping):
        return tuple(value[name] for name in sorted(value))
    return tuple(value)


@dataclass(frozen=True)
class Arguments:
    """Names of a model's inputs, and how its forward takes them.

    Attributes
    ----------
    names : tuple of str
        Names of the forward's arguments, in the order of the inputs' tensors.
    keyword : bool
        Whether the forward takes them by name.
    axes : tuple of int
        Batch axis of each input.
    """

    names: tuple[str, ...]
    keyword: bool
    axes: tuple[int, ...]

    @classmethod
    def of(
        cls, model: nn.Module, example: Inputs, batch_axis: int | Mapping[str, int] = 0
    ) -> "Arguments":
        """Return the arguments of a model's forward that an example gives.

        Parameters
        ----------
        model : nn.Module
            The model.
        example : Tensor, tuple of Tensor or mapping
            Its inputs.
        batch_axis : int or mapping
            Batch axis of all inputs, or by name; 0 for names that are missing.

        Raises
        ------
        SplitError
            The example is empty, or has something else than tensors; or an input has no such axis.
        """
        parts: list[Any] = [example]
        if not isinstance(example, Tensor):
            parts += example.values() if isinstance(example, Mapping) else example
        if any(isinstance(part, PackedSequence) for part in parts):
            raise SplitError(
                "example has a packed sequence, which has no row per sample; give the padded "
                "tensor and the lengths, name these in public=(…), and pack inside the model"
            )
        tensors = as_tensors(example)
        odd = [type(value).__name__ for value in tensors if not isinstance(value, Tensor)]
        if odd or not tensors:
            raise SplitError(
                f"example has {odd[0] if odd else 'no input'}; give a tensor, a tuple of tensors, "
                "or a mapping of argument names to tensors, a batch of at least two samples"
            )
        if isinstance(example, Mapping):
            names = tuple(sorted(example))
        else:
            names = _positional_names(model, len(tensors))
        axes = _axes(names, tensors, batch_axis)
        return cls(names, keyword=isinstance(example, Mapping), axes=axes)

    def count(self, tensors: Sequence[Tensor]) -> int:
        """Return the number of samples of a batch."""
        return tensors[0].shape[self.axes[0]]

    def larger(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return a batch with its first sample once more; inputs without rows stay."""
        return tuple(
            torch.cat([x, x.narrow(axis, 0, 1)], dim=axis) if has_rows else x
            for x, axis, has_rows in self._with_rows(tensors)
        )

    def first(self, tensors: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
        """Return the first samples of a batch; inputs without rows stay."""
        return tuple(
            x.narrow(axis, 0, count) if has_rows else x
            for x, axis, has_rows in self._with_rows(tensors)
        )

    def _with_rows(self, tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, int, bool]]:
        """Iterate over (input, batch axis, whether it has a row per sample)."""
        count = self.count(tensors)
        for x, axis in zip(tensors, self.axes, strict=True):
            yield x, axis, x.dim() > axis and x.shape[axis] == count

    def apply(self, function: Callable[..., Any], tensors: Sequence[Any]) -> Any:
        """Call a function as the model's forward is called."""
        if len(tensors) != len(self.names):
            raise SplitError(
                f"{len(tensors)} inputs; the model was cut with an example of "
                f"{len(self.names)}: {', '.join(self.names)}"
            )
        if self.keyword:
            return function(**dict(zip(self.names, tensors, strict=True)))
        return function(*tensors)


def _axes(
    names: Sequence[str], tensors: Sequence[Tensor], batch_axis: int | Mapping[str, int]
) -> tuple[int, ...]:
    by_name = batch_axis if isinstance(batch_axis, Mapping) else dict.fromkeys(names, batch_axis)
    for name, axis in by_name.items():
        dims = dict(zip(names, (tensor.dim() for tensor in tensors), strict=True))
        if name not in dims or not 0 <= axis < max(dims[name], 1):
            shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in zip(names, tensors, strict=True))
            raise SplitError(
                f"batch_axis = {batch_axis!r}: give one axis for all inputs, or one by name, of "
                f"{shapes}"
            )
    return tuple(by_name.get(name, 0) for name in names)


def _positional_names(model: nn.Module, count: int) -> tuple[str, ...]:
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # a forward that is not Python's
        parameters = []
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{k}" for k in range(count - len(names))]
        elif parameter.kind in (
            inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):  # fmt: skip
            names.append(parameter.name)
    return tuple([*names, *(f"input_{k}" for k in range(len(names), count))][:count])
