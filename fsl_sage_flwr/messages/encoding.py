"""Encode the tensors of a request, and decode those of a reply: the interface of compression.

This file has the identity, which is NumPy's format; ``fsl_sage_flwr.compression`` has codecs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from .arrays import PackedWeights, in_memory, read_tensors, tensors_of, to_arrays, with_orders
from .records import GRADIENTS, SMASHED, check_like


class Encoder(ABC):
    """Encodes the tensors of one message."""

    @abstractmethod
    def encode_weights(self, record: str, weights: Mapping[str, Tensor]) -> ArrayRecord:
        """Return the record of a model's weights."""

    @abstractmethod
    def encode_gradients(self, gradients: Sequence[Tensor]) -> ArrayRecord:
        """Return the record of gradients."""

    @abstractmethod
    def encode_hidden(self, hidden: Sequence[Tensor]) -> ArrayRecord:
        """Return the record of a batch's hidden states: what a part of a model computes."""

    @abstractmethod
    def note(self, config: ConfigRecord) -> None:
        """Add the receiver's decoding parameters to the message's configuration."""


class Decoder(ABC):
    """Decodes the tensors of one reply, and refuses other encodings."""

    @abstractmethod
    def decode_weights(
        self, content: RecordDict, record: str, like: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """Return a record of weights with the names, shapes and dtypes of ``like``; None takes any.

        Raises
        ------
        BadReplyError
            The record is missing, has other names, or an array cannot be used.
        """

    @abstractmethod
    def changes(self, record: str) -> bool:
        """Tell whether :meth:`decode_weights` returns other values than NumPy's format would."""

    @abstractmethod
    def decode_smashed(self, record: ArrayRecord, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return smashed data by name.

        Parameters
        ----------
        record : ArrayRecord
            The reply's.
        like : Mapping
            Expected names, shapes and dtypes.

        Raises
        ------
        BadReplyError
            An array cannot be decoded.
        """

    @abstractmethod
    def decode_gradients(
        self, record: ArrayRecord, like: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return gradients by name; arguments and errors are those of decode_smashed."""


class Identity(Encoder, Decoder):
    """Serializes tensors in NumPy's format, without a codec."""

    def encode_weights(self, record: str, weights: Mapping[str, Tensor]) -> ArrayRecord:
        return weights.record if isinstance(weights, PackedWeights) else to_arrays(weights)

    def encode_gradients(self, gradients: Sequence[Tensor]) -> ArrayRecord:
        return to_arrays(with_orders(gradients))

    def encode_hidden(self, hidden: Sequence[Tensor]) -> ArrayRecord:
        return to_arrays(with_orders(hidden))

    def note(self, config: ConfigRecord) -> None:
        pass

    def decode_weights(
        self, content: RecordDict, record: str, like: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        found = tensors_of(content, record)
        if like is not None:
            check_like(found, like, record)
        return found

    def changes(self, record: str) -> bool:
        return False

    def decode_smashed(self, record: ArrayRecord, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return read_tensors(record, SMASHED)

    def decode_gradients(
        self, record: ArrayRecord, like: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return read_tensors(record, GRADIENTS)


class InMemory(Identity):
    """Keeps the tensors of a ClientApp's reply, which its last mod codes or serializes."""

    def encode_weights(self, record: str, weights: Mapping[str, Tensor]) -> ArrayRecord:
        return in_memory(weights)

    def encode_gradients(self, gradients: Sequence[Tensor]) -> ArrayRecord:
        return in_memory(with_orders(gradients))

    def encode_hidden(self, hidden: Sequence[Tensor]) -> ArrayRecord:
        return in_memory(with_orders(hidden))


IDENTITY = Identity()
IN_MEMORY = InMemory()
