"""Write, read and check the fields of a payload, one class for each type of field."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from .arrays import in_named_order, tensors_of, to_arrays
from .encoding import IDENTITY, Decoder, Encoder
from .records import (
    ABOUT,
    CLIENT_HALF,
    GRADIENTS,
    LABELS,
    SMASHED,
    BadReplyError,
    read_float,
    read_int,
    record_of,
    shown,
)
from .smashed import MOST_VALUES, SmashedBatches, SmashedSpec, check_batch

Figures = ConfigRecord | MetricRecord

SAMPLES = "samples"


@dataclass(frozen=True)
class ReplySchema:
    """Requirements on a reply.

    Attributes
    ----------
    equal : Mapping
        Required values of figures, by field: ``{"round": 3}``.
    weights : Mapping or None
        Required names, shapes and dtypes of weights, by field. Weights of other fields are
        refused; None accepts any.
    smashed : SmashedSpec, optional
        Requirements on smashed data and labels; None refuses them.
    smashed_may_be_missing : bool
        Whether smashed data are optional.
    figures : collection of str
        Optional fields that this reply must have.
    batch : Mapping
        Examples of a batch's tensors, by field: dtypes, and shapes beyond the first axis.
    scores : tuple of str
        Names of the required scores.
    weighted_by : str, optional
        Key of the metric, a positive number, that weights the reply.
    decoder : Decoder
        Decoder of its tensors; by default they are in NumPy's format.
    """

    equal: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Tensor]] | None = field(default_factory=dict)
    smashed: SmashedSpec | None = None
    smashed_may_be_missing: bool = False
    figures: Collection[str] = ()
    batch: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    weighted_by: str | None = None
    decoder: Decoder = IDENTITY


class Field(ABC):
    """Writes, reads and checks fields of one type.

    In its methods ``name`` is the field's, ``figures`` is the message's record of numbers, and
    ``encoder`` encodes tensors.
    """

    in_figures = False

    def records(self) -> tuple[str, ...]:
        """Return the names of the records that only this field uses."""
        return ()

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        """Return the required keys of the field among the figures."""
        return ()

    def possible_keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        """Return the optional keys of the field among the figures."""
        return ()

    @abstractmethod
    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        """Write a value into a message."""

    @abstractmethod
    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        """Tell whether a message has the field."""

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        """Tell whether an optional field is required."""
        return False

    @abstractmethod
    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        """Read and check the value.

        Raises
        ------
        BadReplyError
            The value is missing or violates ``expected``.
        """


def key_of(name: str) -> str:
    """Return the key of a field: ``num_examples`` travels as ``num-examples``."""
    return name.replace("_", "-")


class _Number(Field):
    in_figures = True

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return (key_of(name),)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        figures[key_of(name)] = value

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return key_of(name) in figures

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return name in expected.figures


class IntField(_Number):
    """A whole number.

    Parameters
    ----------
    min : int, optional
        Smallest valid value; no bound by default.
    """

    def __init__(self, *, min: int | None = None) -> None:
        self._min = min

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        key = key_of(name)
        value = read_int(figures, key, min=self._min)
        wanted = expected.equal.get(name, value)
        if value != wanted:
            raise BadReplyError(f"reply of {key} {value} in {key} {wanted}")
        return value


class FloatField(_Number):
    """A float from 0 to ``LARGEST``."""

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        return read_float(figures, key_of(name), min=0)


class BoolField(_Number):
    """A truth value: true or false in a request, 1 or 0 among a reply's metrics."""

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        figures[key_of(name)] = int(value) if isinstance(figures, MetricRecord) else bool(value)

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        value = figures.get(key_of(name))
        if not isinstance(value, int) or value not in (0, 1):
            raise BadReplyError(f"{key_of(name)!r} is {value!r}; 0 or 1 is needed")
        return bool(value)


class TextField(Field):
    """A text, or a tuple of texts, in a ConfigRecord: a MetricRecord holds only numbers.

    Parameters
    ----------
    several : bool
        Whether the value is a tuple.
    """

    def __init__(self, *, several: bool) -> None:
        self._several = several

    def records(self) -> tuple[str, ...]:
        return (ABOUT,)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
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


class ScoresField(Field):
    """The scores of an evaluation, each a finite number under its own name.

    The weight of a score is ``NAME-weight``, by default the number of examples.
    """

    in_figures = True

    def keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return expected.scores

    def possible_keys(self, name: str, expected: ReplySchema) -> tuple[str, ...]:
        return tuple(f"{score}-weight" for score in expected.scores)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        figures.update(value)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return True

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        found = {score: read_float(figures, score) for score in expected.scores}
        weights = [key for key in self.possible_keys(name, expected) if key in figures]
        return {**found, **{key: read_float(figures, key, min=0) for key in weights}}


class _RecordField(Field):
    """A field with a record for it alone."""

    def __init__(self, record: str) -> None:
        self._record = record

    def records(self) -> tuple[str, ...]:
        return (self._record,)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return self._record in content


class WeightsField(_RecordField):
    """Named tensors of a model or a submodule.

    Parameters
    ----------
    record : str
        Name of their record. The record ``arrays`` stays in an opened reply, for Flower's
        FedAvg to average; others are removed.
    """

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        content[self._record] = encoder.encode_weights(self._record, value)

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return expected.weights is not None and name in expected.weights

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        if expected.weights is not None and name not in expected.weights:
            raise BadReplyError(f"record {self._record!r} was not asked for")
        decoder = expected.decoder
        like = None if expected.weights is None else expected.weights[name]
        tensors = decoder.decode_weights(content, self._record, like)
        if self._record != CLIENT_HALF:
            del content[self._record]
        elif decoder.changes(self._record):
            content[self._record] = to_arrays(tensors)  # for Flower to average
        return tensors


class SmashedField(Field):
    """Smashed data with their labels, in two records."""

    def records(self) -> tuple[str, ...]:
        return (SMASHED, LABELS)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        value.write_to(content)

    def is_present(self, name: str, content: RecordDict, figures: Figures) -> bool:
        return SMASHED in content or LABELS in content

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return expected.smashed is not None and not expected.smashed_may_be_missing

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        if expected.smashed is None:
            raise BadReplyError(f"record {SMASHED!r} was not asked for")
        return SmashedBatches.take_from(content, expected.smashed, expected.decoder)


class GradientsField(_RecordField):
    """Gradients with respect to the floating-point smashed tensors, in their order."""

    def __init__(self) -> None:
        super().__init__(GRADIENTS)

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        content[GRADIENTS] = encoder.encode_gradients(value)

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        return tuple(in_named_order(tensors_of(content, GRADIENTS)).values())


class BatchField(_RecordField):
    """Tensors of one batch without labels, by position: hidden states, or gradients of them.

    A reply with such a field has the number of samples in its field ``samples``.

    Parameters
    ----------
    record : str
        Their record: ``smashed`` or ``gradients``.
    """

    def write(
        self, value: Any, name: str, content: RecordDict, figures: Figures, encoder: Encoder
    ) -> None:
        encode = encoder.encode_hidden if self._record == SMASHED else encoder.encode_gradients
        content[self._record] = encode(value)

    def is_expected(self, name: str, expected: ReplySchema) -> bool:
        return name in expected.batch

    def read(self, name: str, content: RecordDict, figures: Figures, expected: ReplySchema) -> Any:
        if expected.weights is None:  # a request
            return tuple(in_named_order(tensors_of(content, self._record)).values())
        like = expected.batch.get(name)
        if like is None:
            raise BadReplyError(f"record {self._record!r} was not asked for")
        count = read_int(figures, SAMPLES, min=1)
        encoded, decoder = record_of(content, self._record), expected.decoder
        # Flower's own strategies want exactly one ArrayRecord in a reply to train.
        del content[self._record]
        decode = decoder.decode_smashed if self._record == SMASHED else decoder.decode_gradients
        if any(count * one[0].numel() > MOST_VALUES for one in like):
            raise BadReplyError(f"{SAMPLES} is {count}: no tensor is so large")
        names = list(encoded)  # by position, perhaps with the order of the axes
        if [name.partition(":")[0] for name in names] != [str(k) for k in range(len(like))]:
            raise BadReplyError(f"{len(like)} {self._record} tensors expected, got {shown(names)}")
        wanted = {
            name: torch.empty((count, *one.shape[1:]), dtype=one.dtype, device="meta")
            for name, one in zip(names, like, strict=True)
        }
        found = decode(encoded, wanted)
        check_batch(found, wanted, self._record)
        return tuple(in_named_order(found).values())
