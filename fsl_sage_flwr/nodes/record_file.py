"""Save a RecordDict in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from ..atomic_files import explain_disk_errors

_KINDS = {kind.__name__: kind for kind in (ArrayRecord, ConfigRecord, MetricRecord)}


def write_records(path: Path, records: RecordDict) -> None:
    """Write records to a file for :func:`read_records`.

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    found = [
        (name, type(record).__name__, {key: _to_file(value) for key, value in record.items()})
        for name, record in records.items()
    ]
    with explain_disk_errors(path):
        torch.save(found, path)


def read_records(path: Path) -> RecordDict:
    """Read records from a file; it cannot contain code."""
    found = torch.load(path, weights_only=True, map_location="cpu")
    return RecordDict(
        {
            name: _KINDS[kind]({key: _from_file(value) for key, value in values.items()})
            for name, kind, values in found
        }
    )


def _to_file(value: Any) -> Any:
    """Convert a value to tensors, numbers and texts, and lists or tuples of these."""
    if isinstance(value, Array):
        return (value.dtype, tuple(value.shape), value.stype, _to_file(value.data))
    if isinstance(value, bytes):  # weights_only refuses some byte strings
        return torch.from_numpy(np.frombuffer(bytearray(value), np.uint8))
    return [_to_file(one) for one in value] if isinstance(value, list) else value


def _from_file(value: Any) -> Any:
    if isinstance(value, tuple):
        dtype, shape, stype, data = value
        return Array(dtype, shape, stype, _from_file(data))
    if isinstance(value, Tensor):
        return value.numpy().tobytes()
    return [_from_file(one) for one in value] if isinstance(value, list) else value
