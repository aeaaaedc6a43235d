"""What a codec is, and the table of those that are registered."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

NONE = "none"
"""Says that tensors travel as they are; no codec has this name."""


@dataclass(frozen=True)
class Bits:
    """Bits that a value takes on the wire, as measured on ResNet-18 and CIFAR-10: for forecasts.

    Attributes
    ----------
    weights, activations, gradients : float
        Of differences of weights, of smashed data behind a ReLU, of gradients.
    """

    weights: float
    activations: float
    gradients: float


class Codec(ABC):
    """Turns tensors of floating-point values into bytes, and back into almost the same values.

    Both directions compute on the CPU in float32 and round to nearest, so that every process
    decodes the same bits.

    Attributes
    ----------
    name : str
        Its name in the run configuration and on the wire: letters, digits and ``-``.
    bits : Bits
        What ``fsl-sage cuts`` reckons with.
    needs_feedback : bool
        It is so coarse that it is only for differences whose error the sender adds to the next
        one: for client halves on their way up.
    """

    name: str
    bits: Bits
    needs_feedback: bool = False

    @abstractmethod
    def encode(self, values: Tensor, axes: tuple[int, ...]) -> bytes:
        """Return the bytes of a tensor.

        Parameters
        ----------
        values : Tensor
            Any shape, float32, on the CPU, not empty. NaN and infinities must be coded so that
            :meth:`decode` refuses them or returns such values.
        axes : tuple of int
            Axes along which values may have scales of their own; ``()`` for one scale.
        """

    @abstractmethod
    def decode(self, data: bytes, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
        """Return the tensor, float32, of the shape that the receiver expects.

        Memory is taken for ``shape`` alone, whatever the bytes say.

        Raises
        ------
        ValueError
            The bytes are no code of such a tensor.
        """


CODECS: dict[str, Codec] = {}


def register_codec(codec: Codec) -> None:
    """Add a codec, so that its name is valid for ``smashed-codec`` and its like.

    Server and clients must both import the module that does so.

    Raises
    ------
    ValueError
        The name is taken or cannot travel.
    """
    if codec.name in CODECS or codec.name == NONE:
        raise ValueError(f"codec {codec.name!r} is registered already; choose another name")
    if not codec.name.replace("-", "").isalnum():
        raise ValueError(f"codec {codec.name!r}: a name of letters, digits and '-' is needed")
    CODECS[codec.name] = codec


def codec_named(name: str) -> Codec | None:
    """Return a registered codec; None for ``none``.

    Raises
    ------
    ValueError
        There is none of that name in this process.
    """
    if name == NONE:
        return None
    if name not in CODECS:
        raise ValueError(f"codec {name!r}: valid are {', '.join([NONE, *CODECS])}")
    return CODECS[name]


def group_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the scales that go with a tensor: 1 along all other axes."""
    return tuple(size if axis in axes else 1 for axis, size in enumerate(shape))


def over_groups(values: Tensor, axes: tuple[int, ...], reduce: str) -> Tensor:
    """Return the largest or the mean magnitude of each group, shaped to be broadcast."""
    others = [axis for axis in range(values.dim()) if axis not in axes]
    if not others:
        return values.abs()
    if reduce == "mean":
        return values.abs().mean(dim=others, keepdim=True)
    return torch.amax(values.abs(), dim=others, keepdim=True)
