"""The records of a message."""

from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fsl_sage_flwr.messages import CLIENT_HALF, message_outside_a_run
from fsl_sage_flwr.messages.arrays import NUMPY, tensors_of
from fsl_sage_flwr.messages.reply import count_bytes
from fsl_sage_flwr.rounds import reply_spool
from fsl_sage_flwr.rounds.aggregation.client_clipping import KEY
from fsl_sage_flwr.tensor_store import TensorStore


def test_an_array_has_numpys_format() -> None:
    """``messages/records.py`` reads the header before it makes room for the values."""
    tensor = torch.arange(6, dtype=torch.float32).view(2, 3)
    record = ArrayRecord({"a": tensor})
    array = record["a"]
    assert (array.stype, array.dtype, tuple(array.shape)) == (NUMPY, "float32", (2, 3))
    assert array.data[:8] == b"\x93NUMPY\x01\x00"
    assert torch.equal(tensors_of(RecordDict({"a": record}), "a")["a"], tensor)


def test_an_array_may_have_any_bytes_and_name_of_its_format() -> None:
    """Coded tensors travel as arrays that Flower does not read."""
    from flwr.app.message.arrayrecord import ArrayRecord as Inflatable

    coded = Array("float32", (2, 3), "fsl-sage.q4", b"\x00\x01")
    copy = Inflatable({"a": coded})["a"]
    assert (copy.stype, copy.data, tuple(copy.shape)) == ("fsl-sage.q4", b"\x00\x01", (2, 3))


def test_flower_averages_arrays_whose_bytes_are_read_when_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SpooledArray`` is an ``Array`` without its constructor; a record keeps it as it is."""
    monkeypatch.setattr(reply_spool, "IN_MEMORY", 0)
    records = [ArrayRecord({"a": torch.full((3,), float(k))}) for k in (1, 2)]
    plain, spooled = ([contents(r) for r in records] for _ in range(2))
    spool = reply_spool.ReplySpool(TensorStore(tmp_path))
    for content in spooled:
        spool.add(content)
    kept = [content.array_records[CLIENT_HALF]["a"] for content in spooled]
    assert all(isinstance(array, reply_spool.SpooledArray) for array in kept)
    averages = [average(each)["a"].numpy() for each in (plain, spooled)]
    assert np.array_equal(*averages)
    spool.close()


def contents(record: ArrayRecord) -> RecordDict:
    metrics = MetricRecord({"num-examples": 1})
    return RecordDict({CLIENT_HALF: record.copy(), "metrics": metrics})


def average(replies: list[RecordDict]) -> ArrayRecord:
    messages = [message_outside_a_run(content, 0, "train", 60.0) for content in replies]
    arrays, _ = FedAvg().aggregate_train(1, messages)
    assert arrays is not None
    return arrays


def test_flowers_count_of_bytes_refuses_an_empty_value() -> None:
    """If it no longer does, ``count_bytes`` of ``messages/reply.py`` can go."""
    empty = ConfigRecord({"text": ""})
    with pytest.raises(ValueError, match="Config values must be either"):
        empty.count_bytes()
    assert count_bytes(empty) == len("text")
    assert count_bytes(ConfigRecord({"n": 1})) == ConfigRecord({"n": 1}).count_bytes()


def test_wrappers_that_clip_on_the_clients_name_the_norm_so() -> None:
    from flwr.supercore.differential_privacy import KEY_CLIPPING_NORM

    assert KEY == KEY_CLIPPING_NORM


def test_flowers_own_name_of_the_weights() -> None:
    """Its wrappers and mods look for that record."""
    assert FedAvg().arrayrecord_key == CLIENT_HALF
