"""Versions of weights that nodes are sent, in memory or in files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from ..codecs import Codec
from ..messages.coding import Layout, code_weights, code_whole, is_exact
from ..messages.records import to_arrays
from ..tensor_store import TensorFile, TensorStore, prefixed, with_prefix

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Version:
    """One version of weights that nodes are sent; the next one is a difference to it.

    Attributes
    ----------
    number : int
        Counts versions, from 0.
    held : dict of str to Tensor
        What a node of this version holds: the source, but for the codec's error.
    source : Mapping or None
        What was to be sent.
    whole_code : ArrayRecord or None
        The whole as one code, which only the first version has: what a node gets later must be
        what the others hold, bit for bit.
    steps : tuple of (int, ArrayRecord)
        The differences that led here, each with the version that it begins at, ascending, as long
        as all of them together are fewer bytes than the whole.
    """

    number: int
    held: dict[str, Tensor]
    source: Weights | None
    whole_code: ArrayRecord | None = None
    steps: tuple[tuple[int, ArrayRecord], ...] = ()

    @cached_property
    def whole(self) -> ArrayRecord:
        """All of it, for nodes that hold no version that differences could begin at."""
        return self.whole_code or to_arrays(self.held)

    @classmethod
    def first(cls, source: Weights, codec: Codec | None, number: int = 0) -> "Version":
        """Begin with weights that no node holds."""
        if codec is None:
            held = {name: tensor.detach().cpu().clone() for name, tensor in source.items()}
            return cls(number, held, source)
        coded = code_whole(source, codec)
        return cls(number, coded.received, source, coded.record)

    @cached_property
    def lost(self) -> dict[str, Tensor]:
        """What a codec has lost of the source, of the tensors that it does lose something of."""
        if self.source is None:
            return {}
        return {
            name: self.source[name].detach().cpu() - held
            for name, held in self.held.items()
            if not is_exact(Layout.WEIGHTS, tuple(held.shape), held.dtype)
        }

    def next(
        self, source: Weights, codec: Codec | None, most_steps: int | None = None
    ) -> "Version":
        """Return the version after this one; itself, if nothing has changed."""
        if self.source is not None and _equal(self.source, source):
            return self
        if codec is None:
            return Version.first(source, None, self.number + 1)
        coded = code_weights(source, self.held, codec)
        steps = [*self.steps, (self.number, coded.record)]
        whole = sum(t.numel() * t.element_size() for t in coded.received.values())
        while steps and sum(record.count_bytes() for _, record in steps) >= whole:
            steps.pop(0)
        steps = steps[-most_steps:] if most_steps else steps
        return Version(self.number + 1, coded.received, source, steps=tuple(steps))

    def since(self, number: int | None) -> ArrayRecord | None:
        """Return the differences that lead here from a version; None if the whole must be sent."""
        if number is None or number > self.number:
            return None
        steps = [(begins, record) for begins, record in self.steps if begins >= number]
        if len(steps) != self.number - number:
            return None
        arrays: dict[str, Array] = {}
        for begins, record in steps:
            arrays |= {f"{begins}:{name}": array for name, array in record.items()}
        return ArrayRecord(arrays)


_HELD, _SOURCE = "held.", "source."
_WHOLE, _STEP = "whole", "step"


@dataclass(frozen=True)
class FiledVersion:
    """A version in files: of weights that one client alone is sent, in memory while it is at work.

    Attributes
    ----------
    number : int
        As :class:`Version`'s.
    weights : TensorFile
        What its node holds, and what was to be sent where that is not the same.
    code : TensorFile or None
        The code of the whole, or of the last step: for the node that is sent it again. A
        checkpoint does without.
    """

    number: int
    weights: TensorFile
    code: TensorFile | None = None

    @classmethod
    def write(cls, version: Version, files: TensorStore, *, coded: bool) -> "FiledVersion":
        """Write a version.

        Parameters
        ----------
        version : Version
            At most one of its steps is kept: its one node needs no earlier ones.
        files : TensorStore
            Where the files are.
        coded : bool
            Whether a codec stands between the source and what the node holds. Without one both
            are the same.

        Raises
        ------
        DiskError
            The files cannot be written.
        """
        weights = prefixed(version.held, _HELD)
        if version.source is not None and coded:
            weights |= prefixed(version.source, _SOURCE)
        code = {_WHOLE: version.whole_code} if version.whole_code else {}
        code |= {f"{_STEP} {begins}": record for begins, record in version.steps[-1:]}
        packed = {
            f"{kind}\n{array.stype}\n{name}": _as_tensor(array.data)
            for kind, record in code.items()
            for name, array in record.items()
        }
        file = files.write(packed) if packed else None
        return cls(version.number, files.write(weights), file)

    def read(self) -> Version:
        """Return the version, in memory."""
        weights = self.weights.load()
        held = with_prefix(weights, _HELD)
        source = with_prefix(weights, _SOURCE) or held
        whole, steps = ArrayRecord(), dict[int, ArrayRecord]()
        for key, data in (self.code.load() if self.code is not None else {}).items():
            kind, stype, name = key.split("\n", 2)
            like = held[name].numpy()
            array = Array(str(like.dtype), tuple(like.shape), stype, data.numpy().tobytes())
            if kind == _WHOLE:
                whole[name] = array
            else:
                steps.setdefault(int(kind.removeprefix(_STEP)), ArrayRecord())[name] = array
        return Version(self.number, held, source, whole or None, tuple(steps.items()))


def _as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.array(bytearray(data), np.uint8))


def _equal(left: Weights, right: Weights) -> bool:
    return left is right or all(torch.equal(left[n].cpu(), right[n].cpu()) for n in left)
