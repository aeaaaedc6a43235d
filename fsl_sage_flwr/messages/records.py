"""Name the records of a message, and read and check their values."""

from collections.abc import Collection, Mapping

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from ..byte_columns import PAYLOADS

LARGEST_WEIGHT = 2.0**53
# The square of a larger value is not finite in float32, so training would diverge within steps.
# Sums of values up to this one, weighted by any number of examples, are finite in float64.
LARGEST = 1e18
LONGEST_SHOWN = 60

CLIENT_HALF = "arrays"  # Flower's own name: its wrappers and mods look for it
CONFIG = "config"
METRICS = "metrics"
AUXILIARY = "auxiliary"
SMASHED = "smashed"
LABELS = "labels"
GRADIENTS = "gradients"
ABOUT = "about"  # a ConfigRecord of texts about a node

KINDS = dict(zip((CLIENT_HALF, AUXILIARY, SMASHED, LABELS, GRADIENTS), PAYLOADS, strict=True))


class BadReplyError(ValueError):
    """Refuse a reply, with the reason as its text."""


class MissingPayloadError(RuntimeError):
    """Report that a node lacks a payload: it was not sent, or the node has lost it."""


def shown(value: object) -> str:
    """Return a sender's value as text for an error, cut to one line."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"


def record_of(content: RecordDict, name: str) -> ArrayRecord:
    """Return an ArrayRecord.

    Raises
    ------
    BadReplyError
        The record is missing.
    """
    # Not by array_records: such a view keeps its arrays alive until garbage is collected.
    record = content.get(name)
    if not isinstance(record, ArrayRecord):
        present = ", ".join(sorted(content)) or "none"
        raise BadReplyError(f"record {name!r} is missing (records there: {present})")
    return record


def read_int(record: MetricRecord | ConfigRecord, key: str, *, min: int | None = None) -> int:
    """Return a whole number of a record.

    Parameters
    ----------
    record : MetricRecord or ConfigRecord
        The message's numbers.
    key : str
        The number's key.
    min : int, optional
        Smallest valid value; no bound by default.

    Raises
    ------
    BadReplyError
        The value is missing, no integer, or too small.
    """
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadReplyError(f"{key!r} is {value!r}; a whole number is needed")
    if min is not None and value < min:
        raise BadReplyError(f"{key!r} is {value!r}; {min} or more is needed")
    return value


def read_float(record: MetricRecord | ConfigRecord, key: str, *, min: float = -LARGEST) -> float:
    """Return a float of a record, between ``min`` and ``LARGEST``.

    Raises
    ------
    BadReplyError
        The value is missing, no float, or out of bounds.
    """
    value = record.get(key)
    if not isinstance(value, float) or not min <= value <= LARGEST:
        raise BadReplyError(f"{key!r} is {value!r}; a number from {min:g} to {LARGEST:g} is needed")
    return value


def read_weight(record: MetricRecord, key: str) -> float:
    """Return a reply's weight in an average: above 0 and below ``LARGEST_WEIGHT``.

    Raises
    ------
    BadReplyError
        The value is missing, no number, or out of bounds.
    """
    value = record.get(key)
    if not isinstance(value, int | float) or not 0 < value < LARGEST_WEIGHT:
        raise BadReplyError(f"{key!r} is {value!r}; a positive number is needed")
    return value


def round_and_exchange(content: RecordDict) -> tuple[int, int]:
    """Return round and exchange of a request, each 0 by default."""
    config = content.config_records.get(CONFIG, ConfigRecord())
    values = (config.get("round", 0), config.get("exchange", 0))
    round_, exchange = (value if isinstance(value, int) else 0 for value in values)
    return round_, exchange


def check_keys(record: MetricRecord, needed: Collection[str], possible: Collection[str]) -> None:
    """Refuse metrics with a missing or an unknown key.

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
    """Refuse a content with records of other names.

    Raises
    ------
    BadReplyError
        Names them.
    """
    unknown = sorted(set(content) - names)
    if unknown:
        raise BadReplyError(f"unknown records: {', '.join(unknown[:3])}")


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
        wanted = sendable(expected[key])
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise BadReplyError(
                f"{key!r} of record {name!r} is {tensor.dtype} {tuple(tensor.shape)}; "
                f"expected {wanted.dtype} {tuple(wanted.shape)}"
            )
        # A constant, such as a causal mask, may be infinite: it has the same bits on both sides.
        if not is_finite(tensor) and (wanted.is_meta or not torch.equal(tensor, wanted.cpu())):
            raise BadReplyError(_not_finite(key, name))


def sendable(tensor: Tensor) -> Tensor:
    """Return a tensor in a dtype of NumPy's: bfloat16 as float32, which holds its values."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def check_finite(tensor: Tensor, key: str, name: str) -> None:
    """Refuse NaN and infinities.

    Raises
    ------
    BadReplyError
        The tensor holds one.
    """
    if not is_finite(tensor):
        raise BadReplyError(_not_finite(key, name))


def _not_finite(key: str, name: str) -> str:
    return (
        f"{key!r} of record {name!r} holds NaN or infinite values: look for NaN in the inputs of "
        "the client's batches, or lower its learning rate"
    )


def is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor holds neither NaN nor infinities."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # Both are NaN if one value is; ten times as fast as testing each value.
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
