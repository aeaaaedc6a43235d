"""Count the bytes of the messages' contents."""

from collections import Counter
from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, RecordDict

from ..byte_columns import BYTE_COLUMNS, OTHER, Direction
from .arrays import declared_bytes, is_coded
from .records import CLIENT_HALF, KINDS, LABELS
from .reply import count_bytes

# No codec needs less than an eighth of a bit for a value of 32.
MOST_FOR_A_BYTE = 256


def _raw_bytes(array: Array) -> int:
    """Return the bytes of an array's raw elements; bounds those that the sender declares."""
    data = array.data
    if is_coded(array):
        try:
            return min(declared_bytes(array), MOST_FOR_A_BYTE * len(data))
        except ValueError:
            return len(data)
    if data[:6] != b"\x93NUMPY":
        return len(data)
    start = 10 if data[6:7] == b"\x01" else 12
    return max(0, len(data) - start - int.from_bytes(data[8:start], "little"))


class CommunicationLedger:
    """Counts the bytes that crossed the network, by direction and kind.

    ``down`` is from the server to the clients. A record's bytes are those of Flower's own
    ``count_bytes``: serialized arrays with their headers, values, keys. The kinds
    are client half, auxiliary, smashed, labels, gradients, and other (configuration and
    metrics).

    Parameters
    ----------
    arrays_kind : str
        Kind of the record that Flower averages: ``client_half`` or ``full_model``.

    Notes
    -----
    Flower's framing is not counted: ids, metadata and headers around the records, gRPC and TLS.
    No public call of Flower returns its size.

    The *reference* count is that of the published figures: the raw elements of all arrays
    except labels.
    """

    def __init__(self, arrays_kind: str = KINDS[CLIENT_HALF]) -> None:
        self._kinds = {**KINDS, CLIENT_HALF: arrays_kind}
        self._bytes: Counter[str] = Counter(dict.fromkeys(BYTE_COLUMNS, 0))
        self._reference = 0
        self._whole = Counter[str]()

    @property
    def total(self) -> int:
        """Bytes of everything, both ways."""
        return sum(self._bytes.values())

    @property
    def reference_total(self) -> int:
        """Bytes by the reference count."""
        return self._reference

    def add(self, direction: Direction, content: RecordDict) -> int:
        """Count the content of one message; return its bytes."""
        before = self.total
        for name, record in content.items():
            kind = self._kinds.get(name, OTHER) if isinstance(record, ArrayRecord) else OTHER
            self._bytes[f"{direction}_{kind}_bytes"] += count_bytes(record)
            if isinstance(record, ArrayRecord) and name != LABELS:
                self._reference += self._raw_bytes(direction, name, record)
        return self.total - before

    def _raw_bytes(self, direction: Direction, name: str, record: ArrayRecord) -> int:
        """Return the bytes of a record's raw elements.

        Differences over several versions count as one tensor. An empty record, which says that
        the node has the weights already, counts as the raw tensors.
        """
        if direction == "down" and not record:
            return self._whole[name]
        sizes = {key.rpartition(":")[2]: _raw_bytes(array) for key, array in record.items()}
        self._whole[name] = sum(sizes.values())
        return self._whole[name]

    def by_kind(self) -> dict[str, int]:
        """Return bytes by ``{direction}_{kind}_bytes``, every column present."""
        return {column: self._bytes[column] for column in BYTE_COLUMNS}

    def state_dict(self) -> dict[str, int]:
        """Return the counts, for a checkpoint."""
        return {**self.by_kind(), "reference": self._reference}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore the counts of a checkpoint."""
        self._bytes = Counter({column: state[column] for column in BYTE_COLUMNS})
        self._reference = state["reference"]
