"""What nodes hold of the weights that they were sent, and how the next ones are coded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord
from torch import Tensor

from ..codecs import codec_named
from ..messages import AUXILIARY, CLIENT_HALF, Compression, Decoder, Encoder, PackedWeights
from ..messages.coding import Layout
from ..messages.compression import COMPRESSION, COUNTED, base_key, held_key
from ..messages.transport import AS_THEY_ARE_OUT, coded_values, numbered
from ..tensor_store import TensorStore
from .diverged import DivergedError
from .part import Part
from .versions import FiledVersion, Version, Weights

RECORDS = (CLIENT_HALF, AUXILIARY)


class DeltaSync(Part):
    """Codes what goes down, and says how what comes up must be coded.

    Weights that all nodes get alike are one sequence of versions. Every node that is up to date
    holds the same, bit for bit. A node that is a few versions behind gets the differences that it
    has missed; one that is new, or may have lost what it held, gets the whole. Weights of one
    client alone, its own head, are versions in files, and in memory only while they are coded.

    Parameters
    ----------
    compression : Compression
        The codecs.
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

    def to(self, client: int, node: int) -> Encoder:
        """Return what packs a request to a client's node."""
        return AS_THEY_ARE_OUT if self.compression.is_none else _ToNode(self, client, node)

    def incoming(self, client: int | None) -> Decoder:
        """Return how a client's replies must be coded; None is for replies without weights."""
        if client is None or self.compression.is_none:
            return Decoder(self.compression)
        sources, lost = {}, {}
        for record in RECORDS:
            version = _in_memory(self._version_of(record, client))
            if version is not None and version.source is not None:
                sources[record] = version.source
                if self.compression.down(record) is not None:
                    lost[record] = version.lost
        return Decoder(self.compression, sources, lost)

    def send(
        self, record: str, weights: Weights, client: int, node: int
    ) -> tuple[ArrayRecord, int, int | None]:
        """Return a record for a node, the version that it then holds, and the one it starts at.

        No version to start at means that the record is the whole.
        """
        shared, codec = isinstance(weights, PackedWeights), self.compression.down(record)
        key = self._keys[record, client] = _key(record, weights, client)
        before = _in_memory(self._versions.get(key))
        try:
            if before is None:
                now = Version.first(weights, codec)
            else:  # a head of a client's own has one holder, who has the last version or none
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
        found = now.since(base) if codec is not None else None
        self._node_of[client] = node
        self._sent_to.add(node)
        self._holders[node, key] = now.number
        return (now.whole, now.number, None) if found is None else (found, now.number, base)

    def tracks(self, record: str) -> bool:
        """Tell whether it matters what nodes hold of a record."""
        compression = self.compression
        return compression.down(record) is not None or compression.up(record) is not None

    def versions(self, client: int) -> dict[str, int]:
        """Return the version of each record that a client is to have."""
        found = {record: self._version_of(record, client) for record in RECORDS}
        return {record: version.number for record, version in found.items() if version is not None}

    def _version_of(self, record: str, client: int) -> Version | FiledVersion | None:
        return self._versions.get(self._keys.get((record, client), record))

    def last_counted(self, client: int) -> int:
        """Return the last round in which a client's reply counted; -1 for none."""
        return self._counted.get(client, -1)

    def note_counted(self, clients: Iterable[int], number: int) -> None:
        """Note whose replies counted in a round: what their codes lost is theirs to add."""
        self._counted.update(dict.fromkeys(clients, number))

    def _drop(self, nodes: Iterable[int]) -> None:
        gone = set(nodes)
        self._holders = {key: n for key, n in self._holders.items() if key[0] not in gone}

    def forget(self, clients: Iterable[int]) -> None:
        """Send these clients the whole next time: they may have lost what they held."""
        self._drop(self._node_of[client] for client in clients if client in self._node_of)

    def snapshot(self) -> Any:
        """Return versions and holders; versions are replaced, never changed."""
        self._sent_to = set()
        return dict(self._versions), dict(self._holders)

    def restore(self, saved: Any) -> None:
        """Put both back; what was sent in between belongs to versions that are gone."""
        versions, holders = saved
        self._versions, self._holders = dict(versions), dict(holders)
        self._drop(self._sent_to)

    def state_dict(self) -> dict[str, Any]:
        """Return the versions; nodes of another run hold none of them."""
        if self.compression.is_none:
            return {}
        versions = {key: _to_checkpoint(version) for key, version in self._versions.items()}
        return {"downlink": {"versions": versions, "counted": dict(self._counted)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        if self.compression.is_none:
            return
        # A checkpoint of an uncoded run has none: all that it would hold begins anew.
        saved = state.get("downlink", {"versions": {}, "counted": {}})
        self._holders = {}
        self._counted = dict(saved["counted"])
        self._versions = {
            key: FiledVersion(version["number"], self.files.adopt(version["weights"]))
            if "weights" in version
            else Version(version["number"], version["held"], version["source"])
            for key, version in saved["versions"].items()
        }


class _ToNode(Encoder):
    """Packs one request to one node."""

    def __init__(self, downlink: DeltaSync, client: int, node: int) -> None:
        self._downlink, self._client, self._node = downlink, client, node
        self._notes: dict[str, int] = {}

    def weights(self, record: str, weights: Weights) -> ArrayRecord:
        if not self._downlink.tracks(record):
            return super().weights(record, weights)
        found, number, base = self._downlink.send(record, weights, self._client, self._node)
        self._notes[held_key(record)] = number
        if base is not None:
            self._notes[base_key(record)] = base
        return found

    def gradients(self, gradients: Sequence[Tensor]) -> ArrayRecord:
        codec = codec_named(self._downlink.compression.gradients)
        if codec is None:
            return super().gradients(gradients)
        return coded_values(numbered(gradients), codec, Layout.GRADIENTS)

    def note(self, config: ConfigRecord) -> None:
        downlink = self._downlink
        config[COMPRESSION] = downlink.compression.to_text()
        config[COUNTED] = downlink.last_counted(self._client)
        for record, number in downlink.versions(self._client).items():
            config[held_key(record)] = number
        config.update(self._notes)


def _in_memory(version: Version | FiledVersion | None) -> Version | None:
    return version.read() if isinstance(version, FiledVersion) else version


def _to_checkpoint(version: Version | FiledVersion) -> dict[str, Any]:
    if isinstance(version, FiledVersion):
        return {"number": version.number, "weights": version.weights}
    source = None if version.source is None else dict(version.source)
    return {"number": version.number, "held": version.held, "source": source}


def _key(record: str, weights: Weights, client: int) -> str:
    """Return the key of weights: of all nodes, of some that share them, or of a client's own."""
    if not isinstance(weights, PackedWeights):
        return f"{record}/{client}"
    return f"{record}/{weights.name}" if weights.name else record
