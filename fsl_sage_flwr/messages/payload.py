"""Declare payloads, the contents of messages, field by field.

A payload is a dataclass that declares the type of each field::

    @dataclass(frozen=True, kw_only=True)
    class Answer(Reply):
        round: int = figure_field()
        client_half: Mapping[str, Tensor] = weights_field(CLIENT_HALF)
        smashed: SmashedBatches | None = smashed_field(optional=True)

Packing, reading, checks and the refusal of any other content follow from the declaration.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from .encoding import IDENTITY, IN_MEMORY, Encoder
from .fields import (
    BatchField,
    BoolField,
    Field,
    FloatField,
    GradientsField,
    IntField,
    ReplySchema,
    ScoresField,
    SmashedField,
    TextField,
    WeightsField,
)
from .records import CONFIG, METRICS, BadReplyError, check_keys, check_records, read_weight

_FIELD, _OPTIONAL = "field", "optional"


def figure_field(*, at_least: int | None = None) -> Any:
    """Declare a whole number."""
    return _declared(IntField(min=at_least), optional=False)


def measure_field(*, optional: bool = False) -> Any:
    """Declare a finite float of at least 0, such as seconds or a loss."""
    return _declared(FloatField(), optional)


def flag_field() -> Any:
    """Declare a truth value."""
    return _declared(BoolField(), optional=False)


def text_field(*, several: bool = False) -> Any:
    """Declare an optional text, or a tuple of texts."""
    return _declared(TextField(several=several), optional=True, default=() if several else None)


def scores_field() -> Any:
    """Declare the scores of an evaluation."""
    return _declared(ScoresField(), optional=False)


def weights_field(record: str, *, optional: bool = False) -> Any:
    """Declare named tensors of a model, in a record of that name."""
    return _declared(WeightsField(record), optional)


def smashed_field(*, optional: bool = False) -> Any:
    """Declare smashed data and their labels."""
    return _declared(SmashedField(), optional)


def gradients_field() -> Any:
    """Declare optional gradients with respect to smashed data."""
    return _declared(GradientsField(), optional=True, default=())


def batch_field(record: str) -> Any:
    """Declare tensors of one batch without labels, in a record of that name."""
    return _declared(BatchField(record), optional=False)


def _declared(kind: Field, optional: bool, default: Any = None) -> Any:
    metadata = {_FIELD: kind, _OPTIONAL: optional}
    return field(default=default, metadata=metadata) if optional else field(metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """Base of requests and replies."""

    @classmethod
    def _fields(cls) -> Iterator[tuple[str, Field, bool]]:
        """Iterate over (name, field, whether it is optional)."""
        for each in fields(cls):
            yield each.name, each.metadata[_FIELD], each.metadata[_OPTIONAL]

    def _write(
        self, content: RecordDict, figures: ConfigRecord | MetricRecord, encoder: Encoder
    ) -> None:
        for name, kind, optional in self._fields():
            value = getattr(self, name)
            if not (optional and (value is None or value == ())):
                kind.write(value, name, content, figures, encoder)

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
    """A message of the server. Its figures are in Flower's own ConfigRecord."""

    joins_config: ClassVar[bool] = True
    """Whether the configuration of Flower and its wrappers is sent too."""

    def pack(self, config: ConfigRecord | None = None, encoder: Encoder = IDENTITY) -> RecordDict:
        """Return the content of a message, with the entries of ``config``."""
        merged = ConfigRecord({**(config or {})} if self.joins_config else {})
        content = RecordDict({CONFIG: merged})
        self._write(content, merged, encoder)
        encoder.note(merged)
        return content

    @classmethod
    def unpack(cls, content: RecordDict) -> Self:
        """Read a request on the client; ignores any other content."""
        return cls._read(content, content.config_records[CONFIG], ReplySchema(weights=None))


@dataclass(frozen=True, kw_only=True)
class Reply(Payload):
    """A message of a client. Its figures are in the MetricRecord that Flower averages."""

    def pack(self) -> RecordDict:
        """Return the content of a message, whose tensors the ClientApp's last mod encodes."""
        content, metrics = RecordDict(), MetricRecord()
        self._write(content, metrics, IN_MEMORY)
        if self._has_figures():
            content[METRICS] = metrics
        return content

    @classmethod
    def open(cls, content: RecordDict, expected: ReplySchema) -> Self:
        """Read and check a reply on the server, and leave in ``content`` what Flower averages.

        Raises
        ------
        BadReplyError
            Anything is missing, unknown, of another shape or dtype, not finite, out of range,
            or otherwise not as ``expected``.
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
            read_weight(metrics, expected.weighted_by)
        found = cls._read(content, metrics, expected)
        found.check(expected)
        return found

    def check(self, expected: ReplySchema) -> None:
        """Refuse values that are invalid only together.

        Raises
        ------
        BadReplyError
            They are.
        """

    @classmethod
    def _has_figures(cls) -> bool:
        return any(kind.in_figures for _, kind, _ in cls._fields())

    @classmethod
    def _keys(cls, expected: ReplySchema) -> tuple[set[str], set[str]]:
        """Return the required and the optional keys of the metrics."""
        needed = {expected.weighted_by} if expected.weighted_by else set[str]()
        possible = set[str]()
        for name, kind, optional in cls._fields():
            if not optional or kind.is_expected(name, expected):
                needed |= set(kind.keys(name, expected))
                possible |= set(kind.possible_keys(name, expected))
        return needed, possible
