"""The two halves of a model."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


def as_tensors(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return what crosses the cut as a tuple, however many tensors it is."""
    return (value,) if isinstance(value, Tensor) else tuple(value)


@dataclass(frozen=True)
class SplitModel:
    """The two halves of a model.

    Attributes
    ----------
    client : nn.Module
        Client half ``x_c``: the model's inputs to the smashed data (one tensor, or a
        tuple when several cross the cut).
    server : nn.Module
        Server half ``x_s``: the smashed data, each tensor an argument, to the output.
    cut : str
        Name of the first submodule of the server half.
    """

    client: nn.Module
    server: nn.Module
    cut: str

    def merged_state_dict(self) -> dict[str, Tensor]:
        """Return the state_dict of the uncut model; names and tensors are its own."""
        return {**self.client.state_dict(), **self.server.state_dict()}

    def __call__(self, *inputs: Tensor) -> Any:
        """Run both halves, one after the other."""
        return self.server(*as_tensors(self.client(*inputs)))
