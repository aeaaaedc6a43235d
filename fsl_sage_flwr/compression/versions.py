"""Store the versions of weights that nodes are sent, in memory or in files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from ..messages.arrays import to_arrays
from ..tensor_store import TensorFile, TensorStore, prefixed, with_prefix
from .arrays import Layout, is_exact
from .codecs import Codec
from .differences import code_weights, code_whole

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Version:
    """One version of weights, to which the next one is coded as a difference.

    Attributes
    ----------
    number : int
        From 0.
    receiver_copy : dict of str to Tensor
        The copy of a node of this version: the source, but for the codec's error.
    source : Mapping or None
        The server's weights.
    whole_code : ArrayRecord or None
        The code of the whole, for the first version only: the copy of a node that joins later
        must equal the others bit for bit.
    steps : tuple of (int, ArrayRecord)
        The last differences, each with the version that it starts from, ascending, and together
        fewer bytes than the whole.
    """

    number: int
    receiver_copy: dict[str, Tensor]
    source: Weights | None
    whole_code: ArrayRecord | None = None
    steps: tuple[tuple[int, ArrayRecord], ...] = ()

    @cached_property
    def whole(self) -> ArrayRecord:
        """The whole, for nodes without a version that differences start from."""
        return self.whole_code or to_arrays(self.receiver_copy)

    @classmethod
    def first(cls, source: Weights, codec: Codec | None, number: int = 0) -> "Version":
        """Return a version of weights that no node has a copy of."""
        if codec is None:
            copy = {name: tensor.detach().cpu().clone() for name, tensor in source.items()}
            return cls(number, copy, source)
        coded = code_whole(source, codec)
        return cls(number, coded.received, source, coded.record)

    @cached_property
    def residual(self) -> dict[str, Tensor]:
        """The codec's error: source minus copy, without the tensors that are coded exactly."""
        if self.source is None:
            return {}
        return {
            name: self.source[name].detach().cpu() - copy
            for name, copy in self.receiver_copy.items()
            if not is_exact(Layout.WEIGHTS, tuple(copy.shape), copy.dtype)
        }

    def next(
        self, source: Weights, codec: Codec | None, most_steps: int | None = None
    ) -> "Version":
        """Return the version after this one, or this one if the weights are unchanged."""
        if self.source is not None and _equal(self.source, source):
            return self
        if codec is None:
            return Version.first(source, None, self.number + 1)
        coded = code_weights(source, self.receiver_copy, codec)
        steps = [*self.steps, (self.number, coded.record)]
        whole = sum(t.numel() * t.element_size() for t in coded.received.values())
        while steps and sum(record.count_bytes() for _, record in steps) >= whole:
            steps.pop(0)
        steps = steps[-most_steps:] if most_steps else steps
        return Version(self.number + 1, coded.received, source, steps=tuple(steps))

    def deltas_since(self, number: int | None) -> ArrayRecord | None:
        """Return the differences since a version; None if the whole must be sent."""
        if number is None or number > self.number:
            return None
        steps = [(begins, record) for begins, record in self.steps if begins >= number]
        if len(steps) != self.number - number:
            return None
        arrays: dict[str, Array] = {}
        for begins, record in steps:
            arrays |= {f"{begins}:{name}": array for name, array in record.items()}
        return ArrayRecord(arrays)


_COPY, _SOURCE = "held.", "source."
_WHOLE, _STEP = "whole", "step"


@dataclass(frozen=True)
class FiledVersion:
    """A version in files, of weights that a single client is sent.

    Attributes
    ----------
    number : int
        Number of the version.
    weights : TensorFile
        The node's copy, and the source where it differs.
    code : TensorFile or None
        The code of the whole, or of the last step, for sending it again. A checkpoint has none.
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
            Only its last step is written: its one node needs no earlier ones.
        files : TensorStore
            Folder of the files.
        coded : bool
            Whether a codec makes the node's copy differ from the source.

        Raises
        ------
        DiskError
            The files cannot be written.
        """
        weights = prefixed(version.receiver_copy, _COPY)
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
        copy = with_prefix(weights, _COPY)
        source = with_prefix(weights, _SOURCE) or copy
        whole, steps = ArrayRecord(), dict[int, ArrayRecord]()
        for key, data in (self.code.load() if self.code is not None else {}).items():
            kind, stype, name = key.split("\n", 2)
            like = copy[name].numpy()
            array = Array(str(like.dtype), tuple(like.shape), stype, data.numpy().tobytes())
            if kind == _WHOLE:
                whole[name] = array
            else:
                steps.setdefault(int(kind.removeprefix(_STEP)), ArrayRecord())[name] = array
        return Version(self.number, copy, source, whole or None, tuple(steps.items()))


def _as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.array(bytearray(data), np.uint8))


def _equal(left: Weights, right: Weights) -> bool:
    return left is right or all(torch.equal(left[n].cpu(), right[n].cpu()) for n in left)
