"""The kinds of fields that a payload may declare: how each is written, read and checked."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from .records import (
    ABOUT,
    CLIENT_HALF,
    GRADIENTS,
    LABELS,
    SMASHED,
    BadReplyError,
    finite,
    not_negative,
    number,
    shown,
    tensors_of,
    to_arrays,
)
from .smashed import SmashedBatches, SmashedSpec
from .transport import AS_THEY_ARE_IN, Decoder, Encoder

Figures = ConfigRecord | MetricRecord


@dataclass(frozen=True)
class ReplySchema:
    """What a message must say and hold to be used.

    Attributes
    ----------
    equal : Mapping
        Figures whose value is known, by field: ``{"round": 3}``.
    weights : Mapping or None
        What weights must look like, by field: names, shapes and dtypes. Weights of a field
        that is not named here are refused; None takes any.
    smashed : SmashedSpec, optional
        What smashed data and labels must look like; None, and they are refused.
    smashed_may_be_missing : bool
        The sender may have nothing to upload.
    figures : collection of str
        Optional figures, by field, that must be there.
    scores : tuple of str
        Names of the scores that must be there.
    weighted_by : str, optional
        Key of the metric, a positive number, that the reply is weighted by.
    incoming : Decoder
        How its tensors must be coded; by default they are not.
    """

    equal: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Tensor]] | None = field(default_factory=dict)
    smashed: SmashedSpec | None = None
    smashed_may_be_missing: bool = False
    figures: Collection[str] = ()
    scores: tuple[str, ...] = ()
    weighted_by: str | None = None
    incoming: Decoder = AS_THEY_ARE_IN


class Kind(ABC):
    """How a field of this kind travels.

    ``name`` is the field's; ``figures`` is the record of numbers that the message has;
    ``outgoing`` says how tensors become bytes.
    """

    in_figures = False

    def records(self) -> tuple[str, ...]:
        """Return the names of the records that the field takes for itself."""
        return ()

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        """Return the keys that the field has among the figures."""
        return ()

    def possible_keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        """Return further keys that it may have there."""
        return ()

    @abstractmethod
    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        """Put a value into a message."""

    @abstractmethod
    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        """Tell whether a message has it."""

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        """Tell whether an optional field must be there."""
        return False

    @abstractmethod
    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        """Take the value, checked.

        Raises
        ------
        BadReplyError
            It is missing or not what is expected.
        """


def key_of(name: str) -> str:
    """Return the key of a field: ``num_examples`` travels as ``num-examples``."""
    return name.replace("_", "-")


class Figure(Kind):
    """A whole number, or a finite one from 0 on.

    Parameters
    ----------
    whole : bool
        False: a float.
    at_least : int, optional
        The smallest whole number that is valid.
    """

    in_figures = True

    def __init__(self, *, whole: bool, at_least: int | None) -> None:
        self._whole, self._at_least = whole, at_least

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return (key_of(name),)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        figures[key_of(name)] = value

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return key_of(name) in figures

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return name in expected.figures

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        key = key_of(name)
        if not self._whole:
            return not_negative(figures, key)
        value = number(figures, key)
        if self._at_least is not None and value < self._at_least:
            raise BadReplyError(f"{key!r} is {value!r}; {self._at_least} or more is needed")
        wanted = expected.equal.get(name, value)
        if value != wanted:
            raise BadReplyError(f"reply of {key} {value} in {key} {wanted}")
        return value


class Flag(Kind):
    """Yes or no: true or false in a request, 1 or 0 among a reply's metrics."""

    in_figures = True

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return (key_of(name),)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        figures[key_of(name)] = int(value) if isinstance(figures, MetricRecord) else bool(value)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return key_of(name) in figures

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        value = figures.get(key_of(name))
        if not isinstance(value, int) or value not in (0, 1):
            raise BadReplyError(f"{key_of(name)!r} is {value!r}; 0 or 1 is needed")
        return bool(value)


class Text(Kind):
    """Text, one or several, in a ConfigRecord: metrics are numbers alone.

    Parameters
    ----------
    several : bool
        True: a tuple of texts.
    """

    def __init__(self, *, several: bool) -> None:
        self._several = several

    def records(self) -> tuple[str, ...]:
        return (ABOUT,)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        about = content.config_records.get(ABOUT, ConfigRecord())
        content[ABOUT] = ConfigRecord(
            {**about, key_of(name): list(value) if self._several else value}
        )

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return key_of(name) in content.config_records.get(ABOUT, ConfigRecord())

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        key = key_of(name)
        value = content.config_records.get(ABOUT, ConfigRecord()).get(key)
        texts = value if self._several else [value]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            wanted = "a list of texts" if self._several else "a text"
            raise BadReplyError(f"{key!r} is {shown(value)}; {wanted} is needed")
        return tuple(texts) if self._several else value


class Scores(Kind):
    """The scores of an evaluation, each a finite number under its own name.

    What a score counts for travels as ``NAME-weight`` where that is not the number of examples.
    """

    in_figures = True

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return expected.scores

    def possible_keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return tuple(f"{score}-weight" for score in expected.scores)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        figures.update(value)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return True

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        found = {score: finite(figures, score) for score in expected.scores}
        weights = [key for key in self.possible_keys(name, expected) if key in figures]
        return {**found, **{key: not_negative(figures, key) for key in weights}}


class Weights(Kind):
    """Named tensors of a model, or of a part of one.

    Parameters
    ----------
    record : str
        Under which name they travel. What is named ``arrays`` stays in a reply, for Flower's
        FedAvg to average; everything else is taken out.
    """

    def __init__(self, record: str) -> None:
        self._record = record

    def records(self) -> tuple[str, ...]:
        return (self._record,)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        content[self._record] = outgoing.weights(self._record, value)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return self._record in content

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return expected.weights is not None and name in expected.weights

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        if expected.weights is not None and name not in expected.weights:
            raise BadReplyError(f"record {self._record!r} was not asked for")
        incoming = expected.incoming
        like = None if expected.weights is None else expected.weights[name]
        tensors = incoming.weights(content, self._record, like)
        if self._record != CLIENT_HALF:
            del content[self._record]
        elif incoming.changes(self._record):
            content[self._record] = to_arrays(tensors)  # what Flower averages
        return tensors


class Smashed(Kind):
    """Smashed data with their labels, in two records."""

    def records(self) -> tuple[str, ...]:
        return (SMASHED, LABELS)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        value.write_to(content)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return SMASHED in content or LABELS in content

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return expected.smashed is not None and not expected.smashed_may_be_missing

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        if expected.smashed is None:
            raise BadReplyError(f"record {SMASHED!r} was not asked for")
        return SmashedBatches.take_from(content, expected.smashed, expected.incoming.smashed_codec)


class Gradients(Kind):
    """Gradients with respect to the floating-point smashed tensors, in their order."""

    def records(self) -> tuple[str, ...]:
        return (GRADIENTS,)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, outgoing: Encoder
    ) -> None:
        content[GRADIENTS] = outgoing.gradients(value)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return GRADIENTS in content

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        return tuple(tensors_of(content, GRADIENTS).values())
