from dataclasses import replace

import pytest
import torch
from flwr.app import ArrayRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.messages import BadReplyError, SmashedBatches, SmashedSpec
from fsl_sage_flwr.objective import classification

SPEC = SmashedSpec(
    (torch.zeros(1, 4, 2), torch.zeros(1, 5, dtype=torch.int64)), classification(3).problem_with
)


def batch(size: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    return (torch.randn(size, 4, 2), torch.randint(9, (size, 5))), torch.randint(3, (size,))


def packed(*sizes: int) -> RecordDict:
    content = RecordDict()
    SmashedBatches.join([batch(size) for size in sizes]).write_to(content)
    return content


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_batches_come_back_as_they_went(sizes: list[int]) -> None:
    batches = [batch(size) for size in sizes]
    content = RecordDict()
    SmashedBatches.join(batches).write_to(content)
    found = list(SmashedBatches.take_from(content, SPEC))
    assert len(found) == len(batches)
    for (tensors, labels), (their_tensors, their_labels) in zip(batches, found, strict=True):
        assert torch.equal(labels, their_labels)
        for tensor, theirs in zip(tensors, their_tensors, strict=True):
            assert torch.equal(tensor, theirs)
            assert tensor.dtype == theirs.dtype
    assert not content


def changed(record: str, key: str, value: torch.Tensor) -> RecordDict:
    content = packed(3, 2)
    tensors = dict(content.array_records[record].to_torch_state_dict())
    tensors[key] = value
    content[record] = ArrayRecord(tensors)
    return content


def without(record: str) -> RecordDict:
    content = packed(3, 2)
    del content[record]
    return content


BAD = {
    "no smashed data": (without("smashed"), "record 'smashed' is missing"),
    "no labels": (without("labels"), "record 'labels' is missing"),
    "other shape": (changed("smashed", "0", torch.zeros(5, 4, 3)), "expected torch.float32"),
    "other count": (changed("smashed", "0", torch.zeros(4, 4, 2)), "expected torch.float32"),
    "other dtype": (changed("smashed", "0", torch.zeros(5, 4, 2).double()), "torch.float64"),
    "one too many": (changed("smashed", "2", torch.zeros(5)), "2 smashed tensors expected"),
    "NaN": (changed("smashed", "0", torch.full((5, 4, 2), torch.nan)), "NaN or infinite"),
    "infinite": (changed("smashed", "0", torch.full((5, 4, 2), torch.inf)), "NaN or infinite"),
    "label too high": (changed("labels", "labels", torch.tensor([0, 1, 2, 3, 0])), "valid are 0"),
    "label negative": (changed("labels", "labels", torch.tensor([0, 1, 2, -1, 0])), "valid are 0"),
    "labels as floats": (
        changed("labels", "labels", torch.zeros(5)),
        "one vector of whole",
    ),
    "more beside the labels": (changed("labels", "more", torch.zeros(5)), "must hold 'labels'"),
    "labels a number": (changed("labels", "labels", torch.tensor(1)), "a single number"),
    "sizes do not add up": (changed("labels", "batch-sizes", torch.tensor([3, 3])), "do not make"),
    "empty batch": (changed("labels", "batch-sizes", torch.tensor([5, 0])), "do not make"),
    "negative batch": (changed("labels", "batch-sizes", torch.tensor([6, -1])), "do not make"),
}


def with_held_out(mask: torch.Tensor) -> RecordDict:
    content = packed(3, 2)
    labelling = dict(content.array_records["labels"].to_torch_state_dict())
    content["labels"] = ArrayRecord({**labelling, "held-out": mask})
    return content


def test_held_out_samples_are_marked_where_that_is_expected() -> None:
    spec, masks = replace(SPEC, held_out=True), [torch.tensor([True, False, False])]
    content = RecordDict()
    SmashedBatches.join([batch(3)], masks).write_to(content)
    found = SmashedBatches.take_from(content, spec)
    assert found.held_out is not None
    assert found.held_out.tolist() == [True, False, False]
    assert SmashedBatches.take_from(packed(3, 2), spec).held_out is None
    with pytest.raises(BadReplyError, match="must hold 'labels'"):
        SmashedBatches.take_from(with_held_out(torch.zeros(5, dtype=torch.bool)), SPEC)
    for wrong in (torch.zeros(5), torch.zeros(4, dtype=torch.bool)):
        with pytest.raises(BadReplyError, match="held-out must be 5 times true or false"):
            SmashedBatches.take_from(with_held_out(wrong), spec)


@pytest.mark.parametrize("name", BAD)
def test_bad_payload_is_refused_with_its_reason(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(BadReplyError, match=reason):
        SmashedBatches.take_from(content, SPEC)


def test_unreadable_array_is_refused() -> None:
    content = packed(2)
    array = content.array_records["smashed"]["0"]
    array.data = array.data[:40]
    with pytest.raises(BadReplyError, match="cannot be read"):
        SmashedBatches.take_from(content, SPEC)


def test_pickled_array_is_refused() -> None:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    content = packed(2)
    content.array_records["smashed"]["0"].data = buffer.getvalue()
    with pytest.raises(BadReplyError, match="cannot be read"):
        SmashedBatches.take_from(content, SPEC)
