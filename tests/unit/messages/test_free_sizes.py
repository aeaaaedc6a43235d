"""Batches of several sizes in one reply: an array per batch, and refusals of forged ones."""

from collections.abc import Callable

import pytest
import torch
from flwr.app import ArrayRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsl_sage_flwr.messages import BadReplyError, SmashedBatches, SmashedSpec, change_smashed
from fsl_sage_flwr.messages.arrays import serialized
from fsl_sage_flwr.objective import classification

FREE = (((1, 0),), ((2, 0), (3, 1)), ())
SPEC = SmashedSpec(
    (
        torch.zeros(2, 4, 2),
        torch.zeros(2, 1, 4, 6, dtype=torch.int64),
        torch.tensor([[4, 6], [4, 6]]),
    ),
    classification(3).problem_with,
    free=FREE,
)
Batch = tuple[tuple[Tensor, ...], Tensor]


def batch(size: int, length: int, width: int) -> Batch:
    sizes = torch.tensor([length, width]).expand(size, 2)
    smashed = torch.randn(size, length, 2), torch.randint(9, (size, 1, length, width)), sizes
    return smashed, torch.randint(3, (size,))


def packed(*batches: Batch) -> RecordDict:
    content = RecordDict()
    SmashedBatches.join(batches).write_to(content)
    return content


SIZES = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_batches_come_back_with_their_sizes(sizes: list[tuple[int, int, int]]) -> None:
    batches = [batch(*each) for each in sizes]
    content = packed(*batches)
    sent = sum(t.numel() * t.element_size() for tensors, _ in batches for t in tensors)
    arrays = serialized(content.array_records["smashed"])
    # NumPy's header has 128 bytes: nothing is filled with zeros.
    assert sum(len(array.data) for array in arrays.values()) == sent + 128 * len(arrays)
    found = list(SmashedBatches.take_from(content, SPEC))
    for (tensors, labels), (theirs, their_labels) in zip(batches, found, strict=True):
        assert torch.equal(labels, their_labels)
        assert all(map(torch.equal, tensors, theirs))
        assert all(t.is_contiguous() for t in theirs)


def test_batches_of_one_size_are_one_array_per_tensor() -> None:
    content = packed(batch(3, 5, 2), batch(2, 5, 2))
    assert list(content.array_records["smashed"]) == ["0", "1", "2"]
    assert list(packed(batch(3, 5, 2), batch(2, 5, 3)).array_records["smashed"]) == [
        "0/0", "0/1", "0/2", "1/0", "1/1", "1/2",
    ]  # fmt: skip


def test_the_mean_square_counts_what_was_sent() -> None:
    batches = [batch(3, 5, 2), batch(2, 1, 2)]
    values = torch.cat([tensors[0].flatten() for tensors, _ in batches]).double()
    found = SmashedBatches.join(batches).mean_square()
    assert found == pytest.approx(values.square().mean().item())


def test_batches_are_changed_one_after_the_other() -> None:
    batches = [batch(3, 5, 2), batch(2, 1, 2)]
    content, seen = packed(*batches), list[int]()

    def twice(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(len(tensors))
        return (2 * tensors[0], *tensors[1:])

    change_smashed(content, twice)
    assert seen == [3, 3]
    for (tensors, _), (theirs, _) in zip(
        batches, SmashedBatches.take_from(content, SPEC), strict=True
    ):
        assert torch.equal(2 * tensors[0], theirs[0])


def forged(change: Callable[[dict[str, Tensor]], None]) -> RecordDict:
    content = packed(batch(3, 5, 2), batch(2, 4, 2))
    tensors = dict(serialized(content.array_records["smashed"]).to_torch_state_dict())
    change(tensors)
    content["smashed"] = ArrayRecord(tensors)
    return content


BAD: dict[str, tuple[Callable[[dict[str, Tensor]], None], str]] = {
    "a missing batch": (
        lambda t: [t.pop(f"1/{k}") for k in range(3)] and None,
        "3 smashed tensors",
    ),
    "another size": (lambda t: t.update({"1/0": torch.zeros(2, 3, 2)}), "are not those of"),
    "a fixed axis": (lambda t: t.update({"1/0": torch.zeros(2, 4, 3)}), "expected torch.float32"),
    "no size": (lambda t: t.update({"1/0": torch.zeros(2, 0, 2)}), "expected torch.float32"),
    "more rows": (lambda t: t.update({"1/0": torch.zeros(3, 4, 2)}), "expected torch.float32"),
    "mixed sizes": (lambda t: t["0/2"].__setitem__((1, 0), 6), "are not those of"),
    "a dimension of the sizes": (
        lambda t: t.update({"0/2": torch.ones(3, 1).long()}),
        "expected t",
    ),
    "a negative size": (lambda t: t["0/2"].fill_(-1), "are not those of"),
}


@pytest.mark.parametrize("kind", BAD)
def test_forged_sizes_are_refused(kind: str) -> None:
    change, said = BAD[kind]
    with pytest.raises(BadReplyError, match=said):
        SmashedBatches.take_from(forged(change), SPEC)


def test_sizes_that_no_tensor_shows_are_limited() -> None:
    spec = SmashedSpec(
        (torch.zeros(2, 4), torch.tensor([[6], [6]])), classification(3).problem_with,
        free=((), ()),
    )  # fmt: skip
    for size, fits in ((6, True), (64 * 6, True), (64 * 6 + 1, False), (0, False)):
        content = packed(
            ((torch.zeros(2, 4), torch.tensor([[size], [size]])), torch.zeros(2).long())
        )
        if fits:
            SmashedBatches.take_from(content, spec)
        else:
            with pytest.raises(BadReplyError, match="above 64 times"):
                SmashedBatches.take_from(content, spec)


@pytest.mark.slow
def test_few_long_samples_cannot_fill_the_memory() -> None:
    long = batch(1, 9000, 1)
    content = packed(long, *(batch(4, 1, 1) for _ in range(600)))
    with pytest.raises(BadReplyError, match="differ too much"):
        SmashedBatches.take_from(content, SPEC)
