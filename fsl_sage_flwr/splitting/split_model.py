"""The two halves of a model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from .errors import SplitError
from .inputs import as_tensors


class FrontAndTail(nn.Module):
    """A client half with the model's tail: computes the smashed data, and holds both parts.

    Names in its state_dict are those of the model behind ``front.`` and ``tail.``, so that whatever
    sends, averages, steps on or saves a client half has the tail in it.

    Parameters
    ----------
    front : nn.Module
        Computes the smashed data from the model's inputs.
    tail : nn.Module
        Computes the output from the server half's hidden states, with each tensor as a separate
        argument.
    """

    def __init__(self, front: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.front, self.tail = front, tail

    def forward(self, *inputs: Tensor) -> Any:
        """Return the smashed data."""
        return self.front(*inputs)


def tail_of(client_half: nn.Module) -> nn.Module | None:
    """Return the tail that a client half holds; None without one."""
    return client_half.tail if isinstance(client_half, FrontAndTail) else None


class InSequence(nn.Module):
    """Modules that pass tensors on, each as a separate argument, as one module."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: Tensor) -> Any:
        """Return the last part's output."""
        output: Any = inputs
        for part in self.parts:
            output = part(*as_tensors(output))
        return output


@dataclass(frozen=True)
class SplitModel:
    """The two halves of a model, or its three parts if it has a tail.

    Attributes
    ----------
    client : nn.Module
        Client half ``x_c``: computes the smashed data (one tensor, or a tuple if several
        cross the cut) from the model's inputs. With a tail a :class:`FrontAndTail`.
    server : nn.Module
        Server half ``x_s``: computes the output from the smashed data, with each tensor as
        a separate argument. With a tail it computes the hidden states that the tail needs.
    cut : str
        Name of the first submodule of the server half.
    tail_cut : str
        Name of the first submodule of the tail; empty without one.
    free : tuple
        For each tensor that crosses, its axes with a size per batch, and the places of these sizes
        in the last tensor, ``(B, k)``. Empty where all batches have the example's sizes.
    """

    client: nn.Module
    server: nn.Module
    cut: str
    tail_cut: str = ""
    free: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def tail(self) -> nn.Module | None:
        """Part behind the server half, which the client holds; None without one."""
        return tail_of(self.client)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Modules that make the output from the inputs, in sequence."""
        halves = (self.client, self.server)
        return halves if self.tail is None else (*halves, self.tail)

    @property
    def behind_the_cut(self) -> nn.Module:
        """One module from the smashed data to the output: the server half, and the tail."""
        return self.server if self.tail is None else InSequence(self.server, self.tail)

    def merged_state_dict(self) -> dict[str, Tensor]:
        """Return the state_dict of the uncut model, with the same names and tensors."""
        return self.joined(self.client.state_dict(), self.server.state_dict())

    @cached_property
    def prefixes(self) -> tuple[str, str]:
        """Prefixes of the client half's and the server half's names in a joint dict.

        Empty, unless the halves share a tensor name: then ``client.`` and ``server.``.
        """
        ours = {self._whole_name(name) for name in self.client.state_dict()}
        in_both = ours & self.server.state_dict().keys()
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
        client = {self._whole_name(name): tensor for name, tensor in client.items()}
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
        ours, theirs = self.prefixes
        known = {name: f"{ours}{self._whole_name(name)}" for name in client}
        known_to_server = {name: f"{theirs}{name}" for name in server}
        of_client, of_server = (
            {name: whole[in_whole] for name, in_whole in names.items() if in_whole in whole}
            for names in (known, known_to_server)
        )
        return of_client, of_server

    def _whole_name(self, name: str) -> str:
        """Return the model's name of a client half's tensor."""
        return name if self.tail is None else name.partition(".")[2]

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the parts in sequence."""
        output: Any = inputs
        for part in self.parts:
            output = part(*as_tensors(output))
        return output
