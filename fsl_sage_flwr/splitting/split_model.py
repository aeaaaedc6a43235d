"""The two halves of a model."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


def as_tensors(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return one tensor or several as a tuple."""
    return (value,) if isinstance(value, Tensor) else tuple(value)


@dataclass(frozen=True)
class SplitModel:
    """The two halves of a model.

    Attributes
    ----------
    client : nn.Module
        Client half ``x_c``: computes the smashed data (one tensor, or a tuple if several
        cross the cut) from the model's inputs.
    server : nn.Module
        Server half ``x_s``: computes the output from the smashed data, with each tensor as
        a separate argument.
    cut : str
        Name of the first submodule of the server half.
    """

    client: nn.Module
    server: nn.Module
    cut: str

    def merged_state_dict(self) -> dict[str, Tensor]:
        """Return the state_dict of the uncut model, with the same names and tensors."""
        return {**self.client.state_dict(), **self.server.state_dict()}

    def __call__(self, *inputs: Tensor) -> Any:
        """Run both halves, one after the other."""
        return self.server(*as_tensors(self.client(*inputs)))
