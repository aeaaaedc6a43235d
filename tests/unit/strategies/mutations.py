"""Ways in which a reply can be wrong, drawn at random."""

import random
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fsl_sage_flwr.messages.arrays import is_coded

Mutation = Callable[[random.Random, RecordDict], bool]


def npy(values: Any, **options: Any) -> bytes:
    file = BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def _some_array(draw: random.Random, content: RecordDict) -> tuple[ArrayRecord, str, np.ndarray]:
    record = content.array_records[draw.choice(sorted(content.array_records))]
    name = draw.choice(list(record))
    array = record[name]
    # The values of a code do not matter: what is put in its place is not coded.
    return record, name, np.zeros(array.shape, array.dtype) if is_coded(array) else array.numpy()


def drop_a_record(draw: random.Random, content: RecordDict) -> bool:
    del content[draw.choice(sorted(content))]
    return True


def add_a_record(draw: random.Random, content: RecordDict) -> bool:
    more = [
        ArrayRecord({"x": Array(np.ones(3))}),
        MetricRecord({"x": 1}),
        ConfigRecord({"x": ""}),
        ConfigRecord({"x": []}),
    ]
    content[draw.choice(["more", "gradients", "auxiliary-head", ""])] = draw.choice(more)
    return True


def swap_a_records_kind(draw: random.Random, content: RecordDict) -> bool:
    name = draw.choice(sorted(content))
    arrays = name in content.array_records
    content[name] = MetricRecord({"x": 1}) if arrays else ConfigRecord({"round": 0})
    return True


def empty_a_record(draw: random.Random, content: RecordDict) -> bool:
    name = draw.choice(sorted(content))
    content[name] = type(content[name])()
    return True


def rename_an_array(draw: random.Random, content: RecordDict) -> bool:
    record, name, _ = _some_array(draw, content)
    record[f"{name}x"] = record.pop(name)
    return True


def drop_an_array(draw: random.Random, content: RecordDict) -> bool:
    record, name, _ = _some_array(draw, content)
    if name == "held-out":  # a task that does not number its samples marks none
        return False
    del record[name]
    return True


def add_an_array(draw: random.Random, content: RecordDict) -> bool:
    record, name, values = _some_array(draw, content)
    if name in ("labels", "batch-sizes"):  # more of those two are read past
        return False
    record["extra"] = Array(values)
    return True


def change_a_shape(draw: random.Random, content: RecordDict) -> bool:
    record, name, values = _some_array(draw, content)
    shapes = [values[None], values[..., None], np.concatenate([values.ravel(), values.ravel()])]
    shapes += [values[:-1]] if values.ndim and len(values) else []
    record[name] = Array(np.ascontiguousarray(draw.choice(shapes)))
    return True


def change_a_dtype(draw: random.Random, content: RecordDict) -> bool:
    record, name, values = _some_array(draw, content)
    kinds = ["f2", "f4", "f8", "i4", "i8", "u1", "?", "c8", ">f4", ">i8", "U3", "M8[s]", "V4"]
    if name == "labels":  # whole numbers of any dtype are classes, and 0 is one
        kinds = ["f2", "f8", "c8", "U3", "M8[s]", "V4"]
    kind = draw.choice([k for k in kinds if np.dtype(k) != values.dtype])
    record[name] = Array(np.zeros(values.shape, dtype=kind))
    return True


def spoil_the_bytes(draw: random.Random, content: RecordDict) -> bool:
    record, name, values = _some_array(draw, content)
    data = record[name].data
    spoilt = draw.choice(
        [
            b"",
            data[: draw.randrange(len(data))],
            data + b"more",
            bytes(draw.randrange(256) for _ in range(40)),
            npy(np.array([{"an": "object"}], dtype=object), allow_pickle=True),
            # A header that claims a terabyte.
            data.replace(b"'shape': (", b"'shape': (1099511627776, ", 1),
            data.replace(b"NUMPY\x01", b"NUMPY\x09", 1),
        ]
    )
    record[name] = Array(str(values.dtype), values.shape, record[name].stype, spoilt)
    return spoilt != data


HEADERS = [
    b"{'descr': (), 'fortran_order': False, 'shape': (1,), }",
    b"{'descr': (",
    b"(" * 5000,
    b"-" * 9000 + b"1",
    b"{'descr': '(1,i4', 'fortran_order': False, 'shape': (1,), }",
    b"{'descr': 'i4,,', 'fortran_order': False, 'shape': (1,), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 100000000000000000000), }",
]


def make_up_a_header(draw: random.Random, content: RecordDict) -> bool:
    """A header is Python that numpy evaluates as a literal: there are many ways to go wrong."""
    record, name, values = _some_array(draw, content)
    header = draw.choice(HEADERS) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    record[name] = Array(str(values.dtype), values.shape, "numpy.ndarray", data)
    return True


def declare_something_else(draw: random.Random, content: RecordDict) -> bool:
    """An array's declaration may differ from its content."""
    record, name, values = _some_array(draw, content)
    other = "int64" if values.dtype != np.int64 else "float32"
    dtype, shape = draw.choice(
        [("bogus", values.shape), (other, values.shape), ("i4,,", values.shape),
         (str(values.dtype), (10**12, 10**12)), (str(values.dtype), (1,) * 500), ("x" * 500, ()),
         ("float32", (2**31 - 1,) * 40)]
    )  # fmt: skip
    stype = draw.choice([record[name].stype, "fsl-sage.q8"])
    record[name] = Array(dtype, shape, stype, record[name].data)
    return True


def change_the_serialization(draw: random.Random, content: RecordDict) -> bool:
    record, name, values = _some_array(draw, content)
    kind = draw.choice(["pickle", "torch", ""])
    record[name] = Array(str(values.dtype), values.shape, kind, record[name].data)
    return True


def put_in_a_value_that_is_no_number(draw: random.Random, content: RecordDict) -> bool:
    record, name, values = _some_array(draw, content)
    if values.dtype.kind != "f" or not values.size:
        return False
    values = values.copy()
    values.flat[draw.randrange(values.size)] = draw.choice([np.nan, np.inf, -np.inf])
    record[name] = Array(values)
    return True


def spoil_the_labels(draw: random.Random, content: RecordDict) -> bool:
    if "labels" not in content.array_records:
        return False
    record = content.array_records["labels"]
    labels = record["labels"].numpy().copy()
    numbers = np.issubdtype(labels.dtype, np.floating)
    wrong: list[Any] = [np.nan, np.inf, -np.inf]
    if not numbers:
        limits = np.iinfo(labels.dtype)
        wrong = [99] if limits.min == 0 else [-1, 99, limits.max, limits.min]
    labels[draw.randrange(len(labels))] = draw.choice(wrong)
    record["labels"] = Array(labels)
    return True


def spoil_the_batch_sizes(draw: random.Random, content: RecordDict) -> bool:
    if "labels" not in content.array_records:
        return False
    record = content.array_records["labels"]
    count = len(record["labels"].numpy())
    sizes = draw.choice(
        [
            [count + 1], [count - 1], [0, count], [count, 0], [-1, count + 1], [],
            [2**63 - 1, 2**63 - 1, count + 2],  # int64 wraps this to the right sum
            [-(2**63), -(2**63), count],
        ]
    )  # fmt: skip
    record["batch-sizes"] = Array(np.array(sizes, dtype=np.int64))
    return True


def spoil_a_metric(draw: random.Random, content: RecordDict) -> bool:
    if "metrics" not in content.metric_records:
        return False
    record = content.metric_records["metrics"]
    name = draw.choice(list(record))
    bad: list[Any] = [float("nan"), float("inf"), -1.0, -1, [1, 2], [], 2**62 + 1]
    if name == "optimizer-state-lost":
        bad = [float("nan"), 0.5, [0]]
    if name in ("num-examples", "batches"):  # how many there are is the client's word
        bad = [float("nan"), -1, 0, [3], 0.5]
    if name == "round":
        bad += [record[name] + 1, record[name] - 1]  # type: ignore[operator]
    record[name] = draw.choice(bad)
    return True


def drop_a_metric(draw: random.Random, content: RecordDict) -> bool:
    if "metrics" not in content.metric_records:
        return False
    record = content.metric_records["metrics"]
    del record[draw.choice(list(record))]
    return True


def add_a_metric(draw: random.Random, content: RecordDict) -> bool:
    if "metrics" not in content.metric_records or "exchange" in content["metrics"]:
        return False  # Flower averages the metrics of replies to train alone
    content.metric_records["metrics"]["accuracy"] = 1.0
    return True


def blow_up(draw: random.Random, content: RecordDict) -> bool:
    content["arrays"] = ArrayRecord({"x": Array(np.zeros(300_000))})
    return True


def _change_a_code(
    draw: random.Random, content: RecordDict, change: Callable[[Array], tuple[str, bytes]]
) -> bool:
    """Give a code another serialization or other data, if there is a code."""
    codes = [
        (record, name)
        for record in content.array_records.values()
        for name, array in record.items()
        if is_coded(array) and array.stype != "fsl-sage.exact"
    ]
    if not codes:
        return False
    record, name = draw.choice(codes)
    array = record[name]
    record[name] = Array(array.dtype, array.shape, *change(array))
    return True


def spoil_a_scale(draw: random.Random, content: RecordDict) -> bool:
    bad = np.array(draw.choice([np.nan, np.inf, -np.inf, -1.0, 1e38]), "<f4").tobytes()
    return _change_a_code(draw, content, lambda a: (a.stype, a.data[:1] + bad + a.data[5:]))


@cache
def _bomb() -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return coder.compress(bytes(2**23)) + coder.flush()


def put_in_a_bomb(draw: random.Random, content: RecordDict) -> bool:
    """A few kilobytes that say they are many megabytes."""
    share = draw.choice([0, 5, 2**20])
    return _change_a_code(
        draw, content, lambda a: (a.stype, a.data[: min(share, len(a.data) // 2)] + _bomb())
    )


def name_another_codec(draw: random.Random, content: RecordDict) -> bool:
    other = draw.choice(["q8", "f16", "sign", "exact", "none", "", "x" * 300])
    return _change_a_code(draw, content, lambda a: (f"fsl-sage.{other}", a.data))


MUTATIONS: list[Mutation] = [
    drop_a_record, add_a_record, swap_a_records_kind, empty_a_record, rename_an_array,
    drop_an_array, add_an_array, change_a_shape, change_a_dtype, spoil_the_bytes,
    make_up_a_header, declare_something_else,
    change_the_serialization, put_in_a_value_that_is_no_number, spoil_the_labels,
    spoil_the_batch_sizes, spoil_a_metric, drop_a_metric, add_a_metric, blow_up,
    spoil_a_scale, put_in_a_bomb, name_another_codec,
]  # fmt: skip


OF_ARRAYS = {
    rename_an_array, drop_an_array, add_an_array, change_a_shape, change_a_dtype, spoil_the_bytes,
    make_up_a_header, declare_something_else,
    change_the_serialization, put_in_a_value_that_is_no_number,
    spoil_a_scale, put_in_a_bomb, name_another_codec,
}  # fmt: skip


def mutate(draw: random.Random, content: RecordDict) -> str:
    """Make a reply's content bad in one way; return which."""
    possible = [m for m in MUTATIONS if content.array_records or m not in OF_ARRAYS]
    while True:
        mutation = draw.choice(possible)
        if mutation(draw, content):
            return mutation.__name__
