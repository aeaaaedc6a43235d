"""Names of the records in a message, and safe ways to read them."""

from collections.abc import Collection, Mapping
from functools import cached_property, lru_cache
from io import BytesIO
from math import prod
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.lib.format import (
    MAGIC_PREFIX,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)
from numpy.typing import NDArray
from torch import Tensor

LARGEST_WEIGHT = 2.0**53
# The square of what is larger is not finite in float32: a step or two later nothing would be.
# Sums of figures up to that, weighted by any number of examples, are finite in float64.
LARGEST = 1e18
LONGEST_SHOWN = 60

NUMPY = "numpy.ndarray"  # how Flower says that an array is in numpy's format

CLIENT_HALF = "arrays"  # Flower's own name: its wrappers and mods look for it
CONFIG = "config"
METRICS = "metrics"
AUXILIARY = "auxiliary"
SMASHED = "smashed"
LABELS = "labels"
GRADIENTS = "gradients"
ABOUT = "about"  # texts about a node, in a ConfigRecord

KINDS = {
    CLIENT_HALF: "client_half",
    AUXILIARY: "auxiliary",
    SMASHED: "smashed",
    LABELS: "labels",
    GRADIENTS: "gradients",
}
# What numpy's reader raises on bytes that somebody made up: it evaluates the header as a literal.
UNREADABLE = (
    *(TypeError, ValueError, EOFError, OSError, LookupError, SyntaxError, ArithmeticError),
    *(MemoryError, RecursionError, TokenError),
)

FULL_MODEL = "full_model"
OTHER = "other"


class BadReplyError(ValueError):
    """A reply that must not be used; the text says what is wrong with it."""


class MissingPayloadError(RuntimeError):
    """A node was not sent, or has lost, something that it needs."""


def shown(value: object) -> str:
    """Return what somebody sent, for an error: as much of it as fits in a line."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"


def record_of(content: RecordDict, name: str) -> ArrayRecord:
    """Return an ArrayRecord.

    Raises
    ------
    BadReplyError
        It is missing.
    """
    # Not by array_records: each such view holds its arrays until garbage is looked for.
    record = content.get(name)
    if not isinstance(record, ArrayRecord):
        present = ", ".join(sorted(content)) or "none"
        raise BadReplyError(f"record {name!r} is missing (records there: {present})")
    return record


def tensors_of(content: RecordDict, name: str) -> dict[str, Tensor]:
    """Return the tensors of an ArrayRecord.

    Raises
    ------
    BadReplyError
        The record is missing or an array in it cannot be decoded.
    """
    tensors = {}
    for key, array in record_of(content, name).items():
        try:
            tensors[key] = torch.from_numpy(_decoded(array))
        except UNREADABLE as error:
            raise BadReplyError(
                f"array {key!r} of record {name!r} cannot be read: {error}"
            ) from error
    return tensors


def _decoded(array: Array) -> NDArray[Any]:
    """Return the values of an array, read once.

    Data that are not as many as their header says are refused before any room is made for them.

    Raises
    ------
    TypeError, ValueError
        They are not, are Python objects, or are not in numpy's format.
    """
    if array.stype != NUMPY:
        raise TypeError(f"it is serialized as {shown(array.stype)}; {NUMPY!r} is needed")
    start = _end_of_header(array.data)
    shape, fortran_order, dtype = _header(array.data[:start])
    present = len(array.data) - start
    if dtype.hasobject or prod(shape) * dtype.itemsize != present:
        raise ValueError(f"{present} bytes for {dtype} {shape}")
    if array.dtype != str(dtype) or tuple(array.shape) != shape:
        says = f"{shown(array.dtype)} {shown(tuple(array.shape))}"
        raise ValueError(f"it is {dtype} {shape}, and says {says}")
    order: Literal["F", "C"] = "F" if fortran_order else "C"
    if present == 0:
        return np.empty(shape, dtype, order)
    # A copy, since the message's own bytes cannot be written to.
    return np.ndarray(shape, dtype, array.data, start, order=order).copy(order)


def _end_of_header(data: bytes) -> int:
    """Return where the values begin behind a header in numpy's format."""
    if data[:6] != MAGIC_PREFIX or data[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"it begins with {data[:8]!r}, which is not numpy's format 1.0 or 2.0")
    length = data[8:10] if data[6] == 1 else data[8:12]
    return 8 + len(length) + int.from_bytes(length, "little")


@lru_cache(maxsize=1024)
def _header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and dtype; the same few come in every round."""
    file = BytesIO(header)
    read_header = read_array_header_1_0 if read_magic(file) == (1, 0) else read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    return shape, fortran_order, dtype


def to_arrays(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Pack tensors in an ArrayRecord, as plain NumPy data."""
    return ArrayRecord(dict(tensors))


class PackedWeights(dict[str, Tensor]):
    """Named tensors that many messages carry: packed once.

    Parameters
    ----------
    tensors : Mapping
        By name.
    name : str
        Tells weights of one kind apart, each of which some nodes share; by default all do.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None, *, name: str = "") -> None:
        super().__init__(tensors or {})
        self.name = name

    @cached_property
    def record(self) -> ArrayRecord:
        """The tensors in an ArrayRecord."""
        return to_arrays(self)


def number(record: MetricRecord | ConfigRecord, key: str) -> int:
    """Return a whole number of a record.

    Raises
    ------
    BadReplyError
        It is missing or no integer.
    """
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadReplyError(f"{key!r} is {value!r}; a whole number is needed")
    return value


def round_and_exchange(content: RecordDict) -> tuple[int, int]:
    """Return the round and the exchange that a request is of; 0 where it does not say."""
    config = content.config_records.get(CONFIG, ConfigRecord())
    values = (config.get("round", 0), config.get("exchange", 0))
    round_, exchange = (value if isinstance(value, int) else 0 for value in values)
    return round_, exchange


def check_keys(record: MetricRecord, needed: Collection[str], possible: Collection[str]) -> None:
    """Refuse a record without the keys that it needs, or with others than are possible.

    Flower drops a round whose replies differ in the keys of their metrics.

    Raises
    ------
    BadReplyError
        Names the first.
    """
    missing = sorted(set(needed) - set(record))
    unknown = sorted(set(record) - set(needed) - set(possible))
    if missing or unknown:
        wrong = "missing" if missing else "unknown"
        raise BadReplyError(f"{(missing or unknown)[0]!r} is {wrong} among the metrics")


def check_records(content: RecordDict, names: set[str]) -> None:
    """Refuse a content with other records than these.

    Raises
    ------
    BadReplyError
        Names them.
    """
    unknown = sorted(set(content) - names)
    if unknown:
        raise BadReplyError(f"unknown records: {', '.join(unknown[:3])}")


def not_negative(record: MetricRecord | ConfigRecord, key: str) -> float:
    """Return a number from 0 to ``LARGEST`` of a record.

    Raises
    ------
    BadReplyError
        It is missing or something else.
    """
    value = record.get(key)
    if not isinstance(value, float) or not 0 <= value <= LARGEST:
        raise BadReplyError(f"{key!r} is {value!r}; a number from 0 to {LARGEST:g} is needed")
    return value


def positive(record: MetricRecord, key: str) -> float:
    """Return a number above 0 of a record, small enough to be added up.

    Raises
    ------
    BadReplyError
        It is missing or something else.
    """
    value = record.get(key)
    if not isinstance(value, int | float) or not 0 < value < LARGEST_WEIGHT:
        raise BadReplyError(f"{key!r} is {value!r}; a positive number is needed")
    return value


def finite(record: MetricRecord | ConfigRecord, key: str) -> float:
    """Return a number of a record, of at most ``LARGEST`` with either sign.

    Raises
    ------
    BadReplyError
        It is missing or something else.
    """
    value = record.get(key)
    if not isinstance(value, float) or not abs(value) <= LARGEST:
        raise BadReplyError(
            f"{key!r} is {value!r}; a number from {-LARGEST:g} to {LARGEST:g} is needed"
        )
    return value


def check_names(found: Collection[str], expected: Collection[str], name: str) -> None:
    """Refuse a record with other tensors than expected, or in another order.

    Raises
    ------
    BadReplyError
        Names the first.
    """
    if list(found) != list(expected):
        odd = sorted(set(found) ^ set(expected))[:3] or ["their order"]
        raise BadReplyError(f"record {name!r} holds other tensors than expected: {', '.join(odd)}")


def check_like(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors whose names, shapes or dtypes differ, or that are not finite.

    Raises
    ------
    BadReplyError
        Names the first difference.
    """
    check_names(tensors, expected, name)
    for key, tensor in tensors.items():
        wanted = expected[key]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise BadReplyError(
                f"{key!r} of record {name!r} is {tensor.dtype} {tuple(tensor.shape)}; "
                f"expected {wanted.dtype} {tuple(wanted.shape)}"
            )
        check_finite(tensor, key, name)


def check_finite(tensor: Tensor, key: str, name: str) -> None:
    """Refuse NaN and infinities.

    Raises
    ------
    BadReplyError
        The tensor holds one.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return
    # Both are NaN if one value is; ten times as fast as to look at each.
    ends = torch.stack(torch.aminmax(tensor))
    if not bool(torch.isfinite(ends).all()):
        raise BadReplyError(f"{key!r} of record {name!r} holds NaN or infinite values")
