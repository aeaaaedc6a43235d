"""Decode a node's requests and encode its replies, on the client's side of compression."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Protocol

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ..messages.arrays import in_memory, is_coded, tensors_of
from ..messages.records import AUXILIARY, CLIENT_HALF, GRADIENTS, SMASHED, MissingPayloadError
from .arrays import Layout, coded_values, decoded_values
from .codecs import Codec, codec_named
from .differences import code_weights, decode_weights, decode_whole
from .settings import COMPRESSION, COUNTED, Compression, base_key, held_key

_NAMES = {CLIENT_HALF: "client half", AUXILIARY: "auxiliary head"}


class Storage(Protocol):
    """A node's named groups of tensors, each with a version, between messages."""

    def load(self, name: str, version: int = 0) -> dict[str, Tensor] | None:
        """Return a group; None if that version is missing."""

    def save_file(self, name: str, tensors: dict[str, Tensor], version: int = 0) -> None:
        """Write a group to a file, in place of its previous version."""


class ClientCompression:
    """Synchronises a node's copy of the weights with the server's, for one request.

    The node stores its copy, and the error of its last differences, in files between messages.

    Parameters
    ----------
    state : Storage
        The node's files.
    config : ConfigRecord
        The request's configuration.
    """

    def __init__(self, state: Storage, config: ConfigRecord) -> None:
        self._state, self._config = state, config
        self._compression = Compression.from_text(str(config[COMPRESSION]))
        self._received: dict[str, dict[str, Tensor]] = {}

    def decode(self, content: RecordDict) -> None:
        """Replace the coded arrays of a request by tensors.

        Raises
        ------
        MissingPayloadError
            The node has lost the version that differences refer to.
        ValueError
            An array cannot be decoded.
        """
        for record in (CLIENT_HALF, AUXILIARY):
            if record in content and held_key(record) in self._config:
                self._decode_weights(content, record)
        for record, codec, layout in self._of_batches():
            if record in content.array_records:
                found = decoded_values(content.array_records[record], codec, layout)
                content[record] = in_memory(found)

    def encode(self, content: RecordDict) -> None:
        """Store the received weights, and code the tensors of a reply.

        Weights that no later message refers to are not stored.

        Raises
        ------
        MissingPayloadError
            The node has lost the weights that the reply's differences refer to.
        """
        for record, weights in self._received.items():
            if self._compression.down(record) is not None or record not in content:
                self._state.save_file(f"held-{record}", weights, self._number(held_key(record)))
        for record, of_batch, layout in self._of_batches():
            if record in content:
                content[record] = coded_values(tensors_of(content, record), of_batch, layout)
        for record in (CLIENT_HALF, AUXILIARY):
            codec = self._compression.up(record)
            if codec is not None and record in content:
                content[record] = self._differences(tensors_of(content, record), record, codec)

    def _of_batches(self) -> Iterator[tuple[str, Codec, Layout]]:
        """Iterate over the records of batches' tensors that a codec changes, both ways."""
        for record, name, layout in (
            (SMASHED, self._compression.smashed, Layout.SMASHED),
            (GRADIENTS, self._compression.gradients, Layout.GRADIENTS),
        ):
            codec = codec_named(name)
            if codec is not None:
                yield record, codec, layout

    def _decode_weights(self, content: RecordDict, record: str) -> None:
        arrays, codec = content.array_records[record], self._compression.down(record)
        if codec is not None and base_key(record) in self._config:
            base = self._stored(record, self._number(base_key(record)))
            found = _after_steps(arrays, base, codec)
        elif any(is_coded(array) for array in arrays.values()):
            found = decode_whole(arrays)
        else:
            self._received[record] = tensors_of(content, record)
            return
        content[record] = in_memory(found)
        # A copy: a task may train the very tensors that its handler reads.
        self._received[record] = {name: tensor.clone() for name, tensor in found.items()}

    def _differences(self, weights: Mapping[str, Tensor], record: str, codec: Codec) -> ArrayRecord:
        """Code weights as differences to the start of the round, and store the codec's error."""
        base = self._received.get(record)
        if base is None:
            base = self._stored(record, self._number(held_key(record)))
        counted, now = self._number(COUNTED), self._number("round")
        # Two slots: the error of a reply that did not count is overwritten, the other one is kept.
        slots = [f"residual-{record}-{slot}" for slot in ("a", "b")]
        residuals = {slot: self._state.load(slot, counted) for slot in slots}
        current = next((slot for slot in slots if residuals[slot] is not None), slots[1])
        coded = code_weights(weights, base, codec, residuals[current])
        other = slots[0] if current == slots[1] else slots[1]
        self._state.save_file(other, coded.residual, now)
        return coded.record

    def _stored(self, record: str, version: int) -> dict[str, Tensor]:
        found = self._state.load(f"held-{record}", version)
        if found is None:
            raise MissingPayloadError(
                f"version {version} of the {_NAMES[record]} is gone from this node; the server "
                "sends the whole next round"
            )
        return found

    def _number(self, key: str) -> int:
        value = self._config.get(key)
        if not isinstance(value, int):
            raise MissingPayloadError(f"{key!r} is {value!r}; a whole number is needed")
        return value


def _after_steps(
    arrays: Mapping[str, Array], weights: dict[str, Tensor], codec: Codec
) -> dict[str, Tensor]:
    """Return weights after the differences of one or more versions, added in their order."""
    steps = defaultdict[int, dict[str, Array]](dict)
    for key, array in arrays.items():
        begins, _, name = key.partition(":")
        steps[int(begins)][name] = array
    for _, step in sorted(steps.items()):
        weights = decode_weights(step, weights, codec)
    return weights
