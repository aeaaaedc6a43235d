"""Define the interface of codecs, and register them by name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...registries import Registry

NONE = "none"
"""Name for no codec: tensors travel unchanged."""


@dataclass(frozen=True)
class Bits:
    """Bits of a coded value, measured on ResNet-18 and CIFAR-10, for estimates of bytes.

    Attributes
    ----------
    weights, activations, gradients : float
        Bits of differences of weights, of smashed data behind a ReLU, of gradients.
    """

    weights: float
    activations: float
    gradients: float


@dataclass(frozen=True)
class Operations:
    """Work of a value in floating-point operations of training that take as long, for the clock.

    Attributes
    ----------
    encode, decode : float
        As ``benchmarks.codec_seconds`` measures them.
    """

    encode: float = 0.0
    decode: float = 0.0


class Codec(ABC):
    """Codes tensors of floating-point values as bytes, with or without a loss.

    Both directions compute on the CPU in float32 and round to nearest, so that every process
    decodes the same bits.

    Attributes
    ----------
    name : str
        Name in the run configuration and on the wire: letters, digits and ``-``.
    bits : Bits
        Bits of a value, with which ``fsl-sage cuts`` estimates bytes.
    operations : Operations
        Work of a value; by default none, which the virtual clock then does not count.
    needs_feedback : bool
        Whether the codec is valid only with error feedback, which client halves have on their
        way up.
    """

    name: str
    bits: Bits
    operations: Operations = Operations()
    needs_feedback: bool = False

    @abstractmethod
    def encode(self, values: Tensor, axes: tuple[int, ...]) -> bytes:
        """Return the code of a tensor.

        Parameters
        ----------
        values : Tensor
            Any shape, float32, contiguous, on the CPU, not empty. :meth:`decode` must refuse the
            code of NaN and infinities, or return such values.
        axes : tuple of int
            Axes along which scales may differ; ``()`` for one scale.
        """

    @abstractmethod
    def decode(self, data: bytes, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
        """Return the tensor, float32, of the receiver's expected shape.

        Memory is allocated for ``shape`` only, whatever the sender's bytes declare.

        Raises
        ------
        ValueError
            The bytes are no code of such a tensor.
        """


def _check(name: str, codec: Codec, registered: Mapping[str, Codec]) -> None:
    """Refuse a name that cannot travel, or that is not the codec's own."""
    if not name.replace("-", "").isalnum():
        raise ValueError(f"codec {name!r}: a name of letters, digits and '-' is needed")
    if codec.name != name:
        raise ValueError(f"codec {name!r} is named {codec.name!r}; register it under that name")


CODECS = Registry[Codec]("codec", Codec, _check, reserved=(NONE,))
"""Codecs by name: valid for ``codec.smashed`` and the other keys of codecs."""


def codec_named(name: str) -> Codec | None:
    """Return a registered codec; None for ``none``.

    Raises
    ------
    UnknownNameError
        This process has no codec of that name.
    """
    return None if name == NONE else CODECS[name]


def group_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a tensor's scales: 1 along all other axes."""
    return tuple(size if axis in axes else 1 for axis, size in enumerate(shape))


def over_groups(values: Tensor, axes: tuple[int, ...], reduce: str) -> Tensor:
    """Return the largest or the mean magnitude of each group, in a shape that broadcasts."""
    others = [axis for axis in range(values.dim()) if axis not in axes]
    if not others:
        return values.abs()
    if reduce == "mean":
        return values.abs().mean(dim=others, keepdim=True)
    return torch.amax(values.abs(), dim=others, keepdim=True)
