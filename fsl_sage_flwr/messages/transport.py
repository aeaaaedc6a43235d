"""How the tensors of one message become bytes, and how those of its reply are read.

By default they travel as they are, in NumPy's format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ..codecs import Codec, codec_named
from .coding import Layout, decode_weights, decoded, dtype_of, encoded
from .compression import Compression
from .records import (
    UNREADABLE,
    BadReplyError,
    PackedWeights,
    check_like,
    check_names,
    record_of,
    tensors_of,
    to_arrays,
)


class Encoder:
    """Packs what a request carries to one node; this one as it is."""

    def weights(self, record: str, weights: Mapping[str, Tensor]) -> ArrayRecord:
        """Return the record of a model's weights."""
        return weights.record if isinstance(weights, PackedWeights) else to_arrays(weights)

    def gradients(self, gradients: Sequence[Tensor]) -> ArrayRecord:
        """Return the record of gradients."""
        return to_arrays(numbered(gradients))

    def note(self, config: ConfigRecord) -> None:
        """Add what the receiver must know to the message's configuration."""


@dataclass(frozen=True)
class Decoder:
    """How a reply must be coded.

    Attributes
    ----------
    compression : Compression
        Its codecs.
    sources : Mapping
        What the server meant to send, by record. Differences are added to that, and not to what
        its codec left of it: so what the codec lost is in the average, and in the next
        differences down.
    lost : Mapping
        What the codec lost of it, by record.
    """

    compression: Compression = field(default_factory=Compression)
    sources: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    lost: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def weights(
        self, content: RecordDict, record: str, like: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """Return a record of weights; ``like`` is what they must look like, None is anything.

        Raises
        ------
        BadReplyError
            It is missing, holds other names, or an array is not what it must be.
        """
        codec = self.compression.up(record)
        found = tensors_of(content, record) if codec is None else {}
        if codec is not None:
            arrays, source = record_of(content, record), self.sources[record]
            check_names(arrays, source, record)
            try:
                found = decode_weights(arrays, source, codec)
            except UNREADABLE as error:
                raise BadReplyError(f"record {record!r} cannot be read: {error}") from error
        if like is not None:
            check_like(found, like, record)
        if codec is None:
            for name, tensor in self.lost.get(record, {}).items():
                found[name] = found[name] + tensor
        return found

    def changes(self, record: str) -> bool:
        """Tell whether :meth:`weights` returns something else than what is in the message."""
        return self.compression.up(record) is not None or record in self.lost

    @property
    def smashed_codec(self) -> Codec | None:
        """The codec of smashed data."""
        return codec_named(self.compression.smashed)


AS_THEY_ARE_OUT, AS_THEY_ARE_IN = Encoder(), Decoder()


def numbered(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return tensors by their place."""
    return {str(place): tensor for place, tensor in enumerate(tensors)}


def coded_values(tensors: Mapping[str, Tensor], codec: Codec, layout: Layout) -> ArrayRecord:
    """Return the record of tensors that are coded each by itself."""
    return ArrayRecord({name: encoded(t, codec, layout) for name, t in tensors.items()})


def decoded_values(record: ArrayRecord, codec: Codec, layout: Layout) -> dict[str, Tensor]:
    """Return the tensors of a record of a sender that is trusted with their shapes.

    Raises
    ------
    ValueError
        An array is not coded so.
    """
    return {
        name: decoded(array, codec, layout, tuple(array.shape), dtype_of(array))
        for name, array in record.items()
    }
