"""Payloads: what a message carries, declared field by field.

A payload is a dataclass whose fields say of which kind they are::

    @dataclass(frozen=True, kw_only=True)
    class Answer(Reply):
        round: int = figure_field()
        client_half: Mapping[str, Tensor] = weights_field(CLIENT_HALF)
        smashed: SmashedBatches | None = smashed_field(optional=True)

Packing, checks, the kinds of bytes and the refusal of whatever else is in the message follow
from that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from .kinds import Figure, Flag, Gradients, Kind, ReplySchema, Scores, Smashed, Text, Weights
from .records import CONFIG, METRICS, BadReplyError, check_keys, check_records, positive
from .transport import AS_THEY_ARE_OUT, Encoder

_KIND, _OPTIONAL = "kind", "optional"


def figure_field(*, at_least: int | None = None) -> Any:
    """Declare a whole number."""
    return _declared(Figure(whole=True, at_least=at_least), optional=False)


def measure_field(*, optional: bool = False) -> Any:
    """Declare a finite float from 0 on: seconds, a loss."""
    return _declared(Figure(whole=False, at_least=None), optional)


def flag_field() -> Any:
    """Declare a yes or no."""
    return _declared(Flag(), optional=False)


def text_field(*, several: bool = False) -> Any:
    """Declare a text, or several; there may be none."""
    return _declared(Text(several=several), optional=True, default=() if several else None)


def scores_field() -> Any:
    """Declare the scores of an evaluation."""
    return _declared(Scores(), optional=False)


def weights_field(record: str, *, optional: bool = False) -> Any:
    """Declare named tensors of a model that travel under a record's name."""
    return _declared(Weights(record), optional)


def smashed_field(*, optional: bool = False) -> Any:
    """Declare smashed data and their labels."""
    return _declared(Smashed(), optional)


def gradients_field() -> Any:
    """Declare gradients with respect to smashed data; there may be none."""
    return _declared(Gradients(), optional=True, default=())


def _declared(kind: Kind, optional: bool, default: Any = None) -> Any:
    metadata = {_KIND: kind, _OPTIONAL: optional}
    return field(default=default, metadata=metadata) if optional else field(metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What requests and replies have in common."""

    @classmethod
    def _fields(cls) -> Iterator[tuple[str, Kind, bool]]:
        """Iterate over (name, kind, whether it may be missing)."""
        for each in fields(cls):
            yield each.name, each.metadata[_KIND], each.metadata[_OPTIONAL]

    def _write(
        self, content: RecordDict, figures: ConfigRecord | MetricRecord, outgoing: Encoder
    ) -> None:
        for name, kind, optional in self._fields():
            value = getattr(self, name)
            if not (optional and (value is None or value == ())):
                kind.write(value, name, content, figures, outgoing)

    @classmethod
    def _read(
        cls, content: RecordDict, figures: ConfigRecord | MetricRecord, expected: ReplySchema
    ) -> Self:
        found = {
            name: kind.read(name, content, figures, expected)
            for name, kind, optional in cls._fields()
            if not optional
            or kind.is_expected(name, expected)
            or kind.is_present(name, content, figures)
        }
        return cls(**found)


@dataclass(frozen=True, kw_only=True)
class Request(Payload):
    """What the server sends. Figures travel in the ConfigRecord that Flower's have."""

    joins_config: ClassVar[bool] = True
    """Whether what Flower and its wrappers put into the configuration travels too."""

    def pack(
        self, config: ConfigRecord | None = None, outgoing: Encoder = AS_THEY_ARE_OUT
    ) -> RecordDict:
        """Return the content of a message, beside what is already in ``config``."""
        merged = ConfigRecord({**(config or {})} if self.joins_config else {})
        content = RecordDict({CONFIG: merged})
        self._write(content, merged, outgoing)
        outgoing.note(merged)
        return content

    @classmethod
    def unpack(cls, content: RecordDict) -> Self:
        """Read on the client; what else is in the message is not looked at."""
        return cls._read(content, content.config_records[CONFIG], ReplySchema(weights=None))


@dataclass(frozen=True, kw_only=True)
class Reply(Payload):
    """What a client answers. Figures travel in the MetricRecord that Flower averages."""

    def pack(self) -> RecordDict:
        """Return the content of a message; the ClientApp codes it if the request says so."""
        content, metrics = RecordDict(), MetricRecord()
        self._write(content, metrics, AS_THEY_ARE_OUT)
        if self._has_figures():
            content[METRICS] = metrics
        return content

    @classmethod
    def open(cls, content: RecordDict, expected: ReplySchema) -> Self:
        """Read and check on the server, and leave in ``content`` what Flower averages.

        Raises
        ------
        BadReplyError
            Anything is missing, unknown, of another shape or dtype, not finite, out of range,
            or not what is expected.
        """
        metrics = MetricRecord()
        if cls._has_figures():
            if METRICS not in content.metric_records:
                raise BadReplyError(f"record {METRICS!r} is missing")
            metrics = content.metric_records[METRICS]
            check_keys(metrics, *cls._keys(expected))
        known = {METRICS} if cls._has_figures() else set[str]()
        known |= {record for _, kind, _ in cls._fields() for record in kind.records()}
        check_records(content, known)
        if expected.weighted_by is not None:
            positive(metrics, expected.weighted_by)
        found = cls._read(content, metrics, expected)
        found.check(expected)
        return found

    def check(self, expected: ReplySchema) -> None:
        """Refuse what only several fields together show to be wrong.

        Raises
        ------
        BadReplyError
            It is.
        """

    @classmethod
    def _has_figures(cls) -> bool:
        return any(kind.in_figures for _, kind, _ in cls._fields())

    @classmethod
    def _keys(cls, expected: ReplySchema) -> tuple[set[str], set[str]]:
        """Return the keys that the metrics must have, and those that they may have."""
        needed = {expected.weighted_by} if expected.weighted_by else set[str]()
        possible = set[str]()
        for name, kind, optional in cls._fields():
            if not optional or kind.is_expected(name, expected):
                needed |= set(kind.keys(name, expected))
                possible |= set(kind.possible_keys(name, expected))
        return needed, possible
