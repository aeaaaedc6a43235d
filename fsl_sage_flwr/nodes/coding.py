"""A Flower mod that decodes what a node is sent, and codes what it answers.

It is outside of all but the one that tells a node's clients apart: what other mods and the
handlers see is not coded.
"""

from collections import defaultdict
from collections.abc import Mapping

from flwr.app import Array, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from torch import Tensor

from ..codecs import Codec, codec_named
from ..messages import AUXILIARY, CLIENT_HALF, Compression, MissingPayloadError
from ..messages.coding import Layout, code_weights, decode_weights, decode_whole, is_coded
from ..messages.compression import COMPRESSION, COUNTED, base_key, held_key
from ..messages.records import CONFIG, GRADIENTS, SMASHED, tensors_of, to_arrays
from ..messages.transport import coded_values, decoded_values
from .client_state import ClientState

_NAMES = {CLIENT_HALF: "client half", AUXILIARY: "auxiliary head"}


def coding_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Decode the request and code the reply, if the request says with what."""
    config = message.content.config_records.get(CONFIG, ConfigRecord())
    if COMPRESSION not in config:
        return call_next(message, context)
    node = _Node(ClientState(context), config)
    node.decode(message.content)
    reply = call_next(message, context)
    if reply.has_content():
        node.keep(reply.content)
        node.code(reply.content)
    return reply


class _Node:
    """What a node holds of the weights that it was sent, and what its codes have lost."""

    def __init__(self, state: ClientState, config: ConfigRecord) -> None:
        self._state, self._config = state, config
        self._compression = Compression.from_text(str(config[COMPRESSION]))
        self._held: dict[str, dict[str, Tensor]] = {}

    def decode(self, content: RecordDict) -> None:
        for record in (CLIENT_HALF, AUXILIARY):
            if record in content.array_records and held_key(record) in self._config:
                self._decode_weights(content, record)
        codec = codec_named(self._compression.gradients)
        if codec is not None and GRADIENTS in content.array_records:
            found = decoded_values(content.array_records[GRADIENTS], codec, Layout.GRADIENTS)
            content[GRADIENTS] = to_arrays(found)

    def keep(self, content: RecordDict) -> None:
        """Keep what came, unless no later message begins with it."""
        for record, weights in self._held.items():
            if self._compression.down(record) is not None or record not in content:
                number = self._number(held_key(record))
                self._state.save_file(f"held-{record}", weights, number)

    def code(self, content: RecordDict) -> None:
        codec = codec_named(self._compression.smashed)
        if codec is not None and SMASHED in content.array_records:
            content[SMASHED] = coded_values(tensors_of(content, SMASHED), codec, Layout.SMASHED)
        for record in (CLIENT_HALF, AUXILIARY):
            codec = self._compression.up(record)
            if codec is not None and record in content.array_records:
                self._code_weights(content, record, codec)

    def _decode_weights(self, content: RecordDict, record: str) -> None:
        """Replace differences by the weights that they lead to."""
        arrays, codec = content.array_records[record], self._compression.down(record)
        if codec is not None and base_key(record) in self._config:
            base = self._held_version(record, self._number(base_key(record)))
            content[record] = to_arrays(_after_steps(arrays, base, codec))
        elif any(is_coded(array) for array in arrays.values()):
            content[record] = to_arrays(decode_whole(arrays))
        self._held[record] = tensors_of(content, record)

    def _code_weights(self, content: RecordDict, record: str, codec: Codec) -> None:
        """Replace weights by differences to what the round began with, and keep what is lost."""
        base = self._held.get(record)
        if base is None:
            base = self._held_version(record, self._number(held_key(record)))
        counted, now = self._number(COUNTED), self._number("round")
        slots = [f"residual-{record}-{slot}" for slot in ("a", "b")]
        lost = {slot: self._state.load(slot, counted) for slot in slots}
        # The residual of a reply that did not count was never sent to anybody: it is dropped.
        current = next((slot for slot in slots if lost[slot] is not None), slots[1])
        coded = code_weights(tensors_of(content, record), base, codec, lost[current])
        content[record] = coded.record
        other = slots[0] if current == slots[1] else slots[1]
        self._state.save_file(other, coded.residual, now)

    def _held_version(self, record: str, version: int) -> dict[str, Tensor]:
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
    """Add the differences of one version after the other."""
    steps = defaultdict[int, dict[str, Array]](dict)
    for key, array in arrays.items():
        begins, _, name = key.partition(":")
        steps[int(begins)][name] = array
    for _, step in sorted(steps.items()):
        weights = decode_weights(step, weights, codec)
    return weights
