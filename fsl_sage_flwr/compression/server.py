"""Encode requests and decode replies, on the server's side of compression."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ..diverged import DivergedError
from ..messages.arrays import UNREADABLE, PackedWeights, with_orders
from ..messages.encoding import IDENTITY, Decoder, Encoder
from ..messages.records import (
    AUXILIARY,
    CLIENT_HALF,
    GRADIENTS,
    SMASHED,
    BadReplyError,
    check_like,
    check_names,
    record_of,
)
from ..state import State
from ..tensor_store import TensorStore
from .arrays import Layout, coded_values, decoded
from .codecs import Codec, codec_named
from .differences import decode_weights
from .settings import COMPRESSION, COUNTED, Compression, base_key, held_key
from .versions import FiledVersion, Version, Weights

RECORDS = (CLIENT_HALF, AUXILIARY)


class DeltaSync(State):
    """Synchronises the nodes' copies of the weights by coded differences.

    Weights that nodes share are one sequence of versions in memory, whatever the number of
    nodes. Nodes of one version have the same copy, bit for bit. A node that is a few versions
    behind gets the differences that it has missed; a new node, or one that may have lost its
    copy, gets the whole. Weights of a single client, such as its own head, are versions in
    files, and in memory only while a message of that client is encoded or decoded.

    Parameters
    ----------
    compression : Compression
        Codecs of the payloads.
    """

    def __init__(self, compression: Compression) -> None:
        self.compression = compression
        self.files = TensorStore()
        self._versions: dict[str, Version | FiledVersion] = {}
        self._holders: dict[tuple[int, str], int] = {}
        self._keys: dict[tuple[str, int], str] = {}
        self._counted: dict[int, int] = {}
        self._node_of: dict[int, int] = {}
        self._sent_to = set[int]()

    def encoder(self, client: int, node: int) -> Encoder:
        """Return the encoder of a request to a client's node."""
        return IDENTITY if self.compression.is_none else RequestEncoder(self, client, node)

    def decoder(self, client: int | None) -> Decoder:
        """Return the decoder of a client's replies; None for replies without weights."""
        found = {} if client is None else {r: self._version_of(r, client) for r in RECORDS}
        return ReplyDecoder(self.compression, found)

    def send(
        self, record: str, weights: Weights, client: int, node: int
    ) -> tuple[ArrayRecord, int, int | None]:
        """Return a record for a node, the version that it leads to, and the one it starts from.

        A record that starts from None is the whole.

        Raises
        ------
        DivergedError
            A value cannot be coded, because it is not finite or too large.
        """
        shared, codec = isinstance(weights, PackedWeights), self.compression.down(record)
        key = self._keys[record, client] = _key(record, weights, client)
        before = _in_memory(self._versions.get(key))
        try:
            if before is None:
                now = Version.first(weights, codec)
            else:  # the one node with a client's own head has its last version or none
                now = before.next(weights, codec, None if shared else 1)
        except ValueError as error:
            raise DivergedError(
                f"record {record!r} for client {client} cannot be coded: {error}; are there values "
                "that are no numbers? Lower learning-rate"
            ) from error
        if now is not before:
            filed = None if shared else FiledVersion.write(now, self.files, coded=codec is not None)
            self._versions[key] = filed or now
        base = self._holders.get((node, key))
        found = now.deltas_since(base) if codec is not None else None
        self._node_of[client] = node
        self._sent_to.add(node)
        self._holders[node, key] = now.number
        return (now.whole, now.number, None) if found is None else (found, now.number, base)

    def tracks(self, record: str) -> bool:
        """Tell whether the nodes' copies of a record are tracked."""
        compression = self.compression
        return compression.down(record) is not None or compression.up(record) is not None

    def versions(self, client: int) -> dict[str, int]:
        """Return the number of the version of each record that a client needs."""
        found = {record: self._version_of(record, client) for record in RECORDS}
        return {record: version.number for record, version in found.items() if version is not None}

    def _version_of(self, record: str, client: int) -> Version | FiledVersion | None:
        return self._versions.get(self._keys.get((record, client), record))

    def last_counted(self, client: int) -> int:
        """Return the last round in which a client's reply counted; -1 for none."""
        return self._counted.get(client, -1)

    def note_counted(self, rounds: Mapping[int, int]) -> None:
        """Record the round of the reply that counted last, by client, for codecs' errors."""
        self._counted.update(rounds)
        self._sent_to = set()

    def _drop(self, nodes: Iterable[int]) -> None:
        gone = set(nodes)
        self._holders = {key: n for key, n in self._holders.items() if key[0] not in gone}

    def forget(self, clients: Iterable[int]) -> None:
        """Send these clients the whole next time: they may have lost their copies."""
        self._drop(self._node_of[client] for client in clients if client in self._node_of)

    def state_dict(self) -> dict[str, Any]:
        """Return the versions, and when each client's reply counted last."""
        if self.compression.is_none:
            return {}
        versions = {key: _to_checkpoint(version) for key, version in self._versions.items()}
        return {"versions": versions, "counted": dict(self._counted)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the versions.

        Nodes that were sent others since a round counted last are sent the whole next time.
        """
        if self.compression.is_none:
            return
        # A checkpoint of a run without compression has none.
        saved = state or {"versions": {}, "counted": {}}
        self._drop(self._sent_to)
        self._sent_to = set()
        self._counted = dict(saved["counted"])
        self._versions = {
            key: FiledVersion(version["number"], self.files.adopt(version["weights"]))
            if "weights" in version
            else Version(version["number"], version["held"], version["source"])
            for key, version in saved["versions"].items()
        }


class RequestEncoder(Encoder):
    """Encodes one request to one node.

    Parameters
    ----------
    sync : DeltaSync
        The state of the nodes' copies.
    client, node : int
        Receiver of the request.
    """

    def __init__(self, sync: DeltaSync, client: int, node: int) -> None:
        self._sync, self._client, self._node = sync, client, node
        self._notes: dict[str, int] = {}

    def encode_weights(self, record: str, weights: Weights) -> ArrayRecord:
        if not self._sync.tracks(record):
            return IDENTITY.encode_weights(record, weights)
        found, number, base = self._sync.send(record, weights, self._client, self._node)
        self._notes[held_key(record)] = number
        if base is not None:
            self._notes[base_key(record)] = base
        return found

    def encode_gradients(self, gradients: Sequence[Tensor]) -> ArrayRecord:
        codec = codec_named(self._sync.compression.gradients)
        if codec is None:
            return IDENTITY.encode_gradients(gradients)
        return coded_values(with_orders(gradients), codec, Layout.GRADIENTS)

    def encode_hidden(self, hidden: Sequence[Tensor]) -> ArrayRecord:
        codec = codec_named(self._sync.compression.smashed)
        if codec is None:
            return IDENTITY.encode_hidden(hidden)
        return coded_values(with_orders(hidden), codec, Layout.SMASHED)

    def note(self, config: ConfigRecord) -> None:
        sync = self._sync
        config[COMPRESSION] = sync.compression.to_text()
        config[COUNTED] = sync.last_counted(self._client)
        for record, number in sync.versions(self._client).items():
            config[held_key(record)] = number
        config.update(self._notes)


class ReplyDecoder(Decoder):
    """Decodes the replies of one client.

    A version in files is read when its record is decoded, and not kept.

    Parameters
    ----------
    compression : Compression
        Codecs of the payloads.
    versions : Mapping
        The version of each record that the client was sent, or None.
    """

    def __init__(
        self, compression: Compression, versions: Mapping[str, Version | FiledVersion | None]
    ) -> None:
        self.compression, self._versions = compression, versions

    def version(self, record: str) -> Version | None:
        """Return the version of a record that the client was sent, in memory."""
        found = _in_memory(self._versions.get(record))
        return None if found is None or found.source is None else found

    def decode_weights(
        self, content: RecordDict, record: str, like: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """Return a record of weights.

        Differences, and the error of the codec down, are added to the server's weights and not
        to the node's copy of them: so the average has that error, and the next differences down.
        """
        codec = self.compression.up(record)
        if codec is None:
            found = IDENTITY.decode_weights(content, record, like)
            version = self.version(record) if self.changes(record) else None
            residual = {} if version is None else version.residual
            return found | {name: found[name] + tensor for name, tensor in residual.items()}
        arrays, version = record_of(content, record), self.version(record)
        if version is None or version.source is None:
            raise BadReplyError(
                f"record {record!r}: this client was sent no weights to differ from"
            )
        check_names(arrays, version.source, record)
        try:
            found = decode_weights(arrays, version.source, codec)
        except UNREADABLE as error:
            raise BadReplyError(f"record {record!r} cannot be read: {error}") from error
        if like is not None:
            check_like(found, like, record)
        return found

    def changes(self, record: str) -> bool:
        """Tell whether a codec changes a record's weights, in either direction."""
        known = self._versions.get(record) is not None
        down = known and self.compression.down(record) is not None
        return down or self.compression.up(record) is not None

    def decode_smashed(self, record: ArrayRecord, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        codec = codec_named(self.compression.smashed)
        if codec is None:
            return IDENTITY.decode_smashed(record, like)
        return _of_batch(record, like, codec, SMASHED, Layout.SMASHED)

    def decode_gradients(
        self, record: ArrayRecord, like: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        codec = codec_named(self.compression.gradients)
        if codec is None:
            return IDENTITY.decode_gradients(record, like)
        return _of_batch(record, like, codec, GRADIENTS, Layout.GRADIENTS)


def _of_batch(
    record: ArrayRecord, like: Mapping[str, Tensor], codec: Codec, name: str, layout: Layout
) -> dict[str, Tensor]:
    """Return the decoded tensors of batches by name."""
    check_names(record, list(like), name)
    what, found = "smashed data" if name == SMASHED else name, {}
    for key, array in record.items():
        shape, dtype = tuple(like[key].shape), like[key].dtype
        try:
            found[key] = decoded(array, codec, layout, shape, dtype)
        except UNREADABLE as error:
            raise BadReplyError(f"{what} {key}: {error}") from error
    return found


def _in_memory(version: Version | FiledVersion | None) -> Version | None:
    return version.read() if isinstance(version, FiledVersion) else version


def _to_checkpoint(version: Version | FiledVersion) -> dict[str, Any]:
    if isinstance(version, FiledVersion):
        return {"number": version.number, "weights": version.weights}
    source = None if version.source is None else dict(version.source)
    return {"number": version.number, "held": version.receiver_copy, "source": source}


def _key(record: str, weights: Weights, client: int) -> str:
    """Return the key of weights that all nodes share, that a group shares, or of one client."""
    if not isinstance(weights, PackedWeights):
        return f"{record}/{client}"
    return f"{record}/{weights.name}" if weights.name else record
