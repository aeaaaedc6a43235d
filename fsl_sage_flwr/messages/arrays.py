"""Convert tensors to Flower's arrays and back, safely for arrays of any sender.

An array is in NumPy's format, or *coded* by a codec of ``fsl_sage_flwr.compression``. A coded
array declares the dtype and the shape of its tensor; the name of its codec is in ``stype``, and
everything else is in ``data``, so that Flower's count of bytes is right.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from io import BytesIO
from math import prod
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.lib.format import MAGIC_PREFIX, read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from torch import Tensor

from ..splitting.layout import in_order, order_of
from .records import BadReplyError, record_of, sendable, shown

NUMPY = "numpy.ndarray"  # Flower's ``stype`` of an array in NumPy's format
CODED = "fsl-sage."  # begins the ``stype`` of a coded array; the codec's name follows

MOST_AXES = 64  # NumPy's limit
MOST_BYTES = 2**62

# Errors of NumPy's reader on forged bytes: it evaluates the header as a literal.
UNREADABLE = (
    *(TypeError, ValueError, EOFError, OSError, LookupError, SyntaxError, ArithmeticError),
    *(MemoryError, RecursionError, TokenError),
)
# A table, because NumPy would parse a dtype that a sender forged as a small program.
_ITEM_BYTES = {
    **{"float64": 8, "float32": 4, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1},
    **{"uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1},
}


class TensorArray(Array):
    """An array that is still a tensor: serialized when its bytes are first read.

    Payloads of a ClientApp travel through its mods as such arrays. A mod that reads the tensor
    costs no serialization, and the last mod, :func:`fsl_sage_flwr.nodes.app.wire_mod`, codes or
    serializes each tensor once. None leaves the process: Flower sends only its own class.

    Parameters
    ----------
    tensor : Tensor
        On any device; kept on the CPU without its graph, and without a copy where it is there.
        It must not change before the message is sent.
    """

    # Flower's own constructor would serialize the tensor.
    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Tensor | None = sendable(tensor.detach()).cpu()
        self.dtype, self.shape, self.stype = numpy_name(tensor.dtype), tuple(tensor.shape), NUMPY

    @property
    def data(self) -> bytes:
        """The tensor in NumPy's format."""
        if self.tensor is not None and "_bytes" not in self.__dict__:
            self.__dict__["_bytes"] = Array(self.tensor.numpy()).data
        found: bytes = self.__dict__["_bytes"]
        return found

    @data.setter
    def data(self, data: bytes) -> None:
        self.tensor = None  # a mod has replaced the values
        self.__dict__["_bytes"] = data


def to_arrays(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Serialize tensors in NumPy's format, bfloat16 as float32."""
    return ArrayRecord({name: sendable(tensor) for name, tensor in tensors.items()})


def in_memory(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Return a record of tensors that are serialized later, see :class:`TensorArray`."""
    record = ArrayRecord()  # whose constructor would serialize them
    for name, tensor in tensors.items():
        record[name] = TensorArray(tensor)
    return record


def serialized(record: ArrayRecord) -> ArrayRecord:
    """Return a record of Flower's own arrays, the same object if it holds no other."""
    tensors = any(isinstance(array, TensorArray) for array in record.values())
    return ArrayRecord(dict(record)) if tensors else record


class PackedWeights(dict[str, Tensor]):
    """Named tensors that many messages carry: serialized once.

    Parameters
    ----------
    tensors : Mapping
        By name.
    name : str
        Distinguishes weights of one kind that different groups of nodes share; "" for weights
        that all nodes share.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None, *, name: str = "") -> None:
        super().__init__({key: sendable(tensor) for key, tensor in (tensors or {}).items()})
        self.name = name

    @cached_property
    def record(self) -> ArrayRecord:
        """The serialized tensors."""
        return to_arrays(self)


def tensors_of(content: RecordDict, name: str) -> dict[str, Tensor]:
    """Return the tensors of an ArrayRecord.

    Raises
    ------
    BadReplyError
        The record is missing, or an array in it cannot be decoded.
    """
    return read_tensors(record_of(content, name), name)


def read_tensors(record: ArrayRecord, name: str) -> dict[str, Tensor]:
    """Return the tensors of a record, whose name is for the error.

    Raises
    ------
    BadReplyError
        An array cannot be decoded.
    """
    tensors = {}
    for key, array in record.items():
        try:
            tensors[key] = _tensor_of(array)
        except UNREADABLE as error:
            raise BadReplyError(
                f"array {key!r} of record {name!r} cannot be read: {error}"
            ) from error
    return tensors


def _tensor_of(array: Array) -> Tensor:
    if isinstance(array, TensorArray) and array.tensor is not None:
        return array.tensor
    return torch.from_numpy(_decoded(array))


def _decoded(array: Array) -> NDArray[Any]:
    """Return the values of an array in NumPy's format.

    Memory is allocated only after the size of the data has been compared with the header.

    Raises
    ------
    TypeError, ValueError
        The sizes differ, the values are Python objects, or the format is another.
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
    """Return the offset of the values behind a header in NumPy's format."""
    if data[:6] != MAGIC_PREFIX or data[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"it begins with {data[:8]!r}, which is not numpy's format 1.0 or 2.0")
    length = data[8:10] if data[6] == 1 else data[8:12]
    return 8 + len(length) + int.from_bytes(length, "little")


@lru_cache(maxsize=1024)
def _header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and dtype; cached, as each round repeats it."""
    file = BytesIO(header)
    read_header = read_array_header_1_0 if read_magic(file) == (1, 0) else read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    return shape, fortran_order, dtype


def is_coded(array: Array) -> bool:
    """Tell whether an array is coded, as opposed to in NumPy's format."""
    return array.stype.startswith(CODED)


def declared_bytes(array: Array) -> int:
    """Return the size of the tensor that a coded array declares, in bytes.

    Raises
    ------
    ValueError
        The declared dtype or shape is that of no tensor.
    """
    if array.dtype not in _ITEM_BYTES:
        raise ValueError(f"{shown(array.dtype)} is no dtype of a tensor")
    too_many = len(array.shape) > MOST_AXES
    if too_many or any(not 0 <= length <= MOST_BYTES for length in array.shape):
        raise ValueError(f"{shown(array.shape[:MOST_AXES])} is no shape")
    size = prod(array.shape) * _ITEM_BYTES[array.dtype]
    if size > MOST_BYTES:
        raise ValueError(f"{shown(tuple(array.shape))} is more than any memory holds")
    return size


def numpy_name(dtype: torch.dtype) -> str:
    """Return NumPy's name of a dtype."""
    return str(sendable(torch.empty(0, dtype=dtype)).numpy().dtype)


def numbered(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return tensors by position, from ``"0"``."""
    return {str(place): tensor for place, tensor in enumerate(tensors)}


def with_orders(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return tensors by position and order of their axes in memory: ``"0"``, ``"1:0,2,1"``."""
    found = {}
    for place, tensor in enumerate(tensors):
        order = order_of(tensor)
        name = f"{place}:{','.join(map(str, order))}" if order else str(place)
        found[name] = tensor.contiguous()
    return found


def in_named_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by position, in the memory layout that their names say.

    Raises
    ------
    BadReplyError
        A name has no such order.
    """
    found = {}
    for name, tensor in tensors.items():
        place, colon, axes = name.partition(":")
        order = axes.split(",") if colon else []
        if colon and sorted(order) != sorted(map(str, range(tensor.dim()))):
            raise BadReplyError(f"{shown(name)} is no order of {tensor.dim()} axes")
        found[place] = in_order(tensor, [*map(int, order)])
    return found
