"""Read the inputs of a model: one tensor, several, or a mapping of arguments by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

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
    """

    names: tuple[str, ...]
    keyword: bool

    @classmethod
    def of(cls, model: nn.Module, example: Inputs) -> "Arguments":
        """Return the arguments of a model's forward that an example gives.

        Raises
        ------
        SplitError
            The example is empty, or has something else than tensors.
        """
        tensors = as_tensors(example)
        odd = [type(value).__name__ for value in tensors if not isinstance(value, Tensor)]
        if odd or not tensors:
            raise SplitError(
                f"example has {odd[0] if odd else 'no input'}; give a tensor, a tuple of tensors, "
                "or a mapping of argument names to tensors, a batch of at least two samples"
            )
        if isinstance(example, Mapping):
            return cls(tuple(sorted(example)), keyword=True)
        return cls(_positional_names(model, len(tensors)), keyword=False)

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
