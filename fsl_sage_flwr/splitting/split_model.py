"""The two halves of a model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from .errors import SplitError
from .inputs import as_tensors


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
    free : tuple
        For each tensor that crosses, its axes with a size per batch, and the places of these sizes
        in the last tensor, ``(B, k)``. Empty where all batches have the example's sizes.
    """

    client: nn.Module
    server: nn.Module
    cut: str
    free: tuple[tuple[tuple[int, int], ...], ...] = ()

    def merged_state_dict(self) -> dict[str, Tensor]:
        """Return the state_dict of the uncut model, with the same names and tensors."""
        return self.joined(self.client.state_dict(), self.server.state_dict())

    @cached_property
    def prefixes(self) -> tuple[str, str]:
        """Prefixes of the client half's and the server half's names in a joint dict.

        Empty, unless the halves share a tensor name: then ``client.`` and ``server.``.
        """
        in_both = self.client.state_dict().keys() & self.server.state_dict().keys()
        return ("client.", "server.") if in_both else ("", "")

    def joined(
        self, client: Mapping[str, Tensor], server: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return values of both halves as values of the whole model.

        Raises
        ------
        SplitError
            Both halves have a tensor of the same name.
        """
        parts = zip(self.prefixes, (client, server), strict=True)
        ours, theirs = ({f"{p}{name}": t for name, t in part.items()} for p, part in parts)
        in_both = sorted(ours.keys() & theirs.keys())
        if in_both:
            raise SplitError(
                f"both halves have a tensor named {in_both[0]!r}; give them other names, or make "
                "the model with split_pair(client, server, example)"
            )
        return {**ours, **theirs}

    def parted(
        self, whole: Mapping[str, Tensor], client: Iterable[str], server: Iterable[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Divide the whole model's values into those of the client half and the server half.

        Names that ``whole`` lacks are left out.
        """
        of_client, of_server = (
            {name: whole[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in whole}
            for prefix, names in zip(self.prefixes, (client, server), strict=True)
        )
        return of_client, of_server

    def __call__(self, *inputs: Tensor) -> Any:
        """Run both halves in sequence."""
        return self.server(*as_tensors(self.client(*inputs)))
