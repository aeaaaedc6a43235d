"""The pool of smashed data: every sample once in each pass, shuffled across clients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.messages import SmashedBatches
from fsl_sage_flwr.rounds.server.smashed_pool import SmashedPool
from fsl_sage_flwr.tensor_store import TensorStore

from ...tasks import small_task


def pool_of(sizes: dict[int, int], batch: int = 4) -> SmashedPool:
    """Each sample is its client times 1,000, plus its place."""
    pool = SmashedPool(small_task())
    pool.files = TensorStore()
    for client, size in sizes.items():
        values = client * 1000 + torch.arange(size, dtype=torch.float32)
        sizes_ = tuple(len(part) for part in values.split(batch))
        pool.put(client, SmashedBatches((values[:, None], -values[:, None]), values.long(), sizes_))
    return pool


def loaded(pool: SmashedPool, clients: list[int], round_: int = 0, epoch: int = 0) -> list:
    return [rows.load() for rows in pool.batches(clients, round_, epoch)]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.integers(0, 9), st.integers(2, 30), min_size=1, max_size=4),
    st.integers(2, 8),
)
def test_every_sample_is_in_a_pass_once(sizes: dict[int, int], batch: int) -> None:
    batches = loaded(pool_of(sizes, batch), list(sizes))
    labels = torch.cat([labels for _, labels in batches])
    expected = [client * 1000 + place for client, size in sizes.items() for place in range(size)]
    assert sorted(labels.tolist()) == sorted(expected)
    for (first, second), labels in batches:
        assert torch.equal(first[:, 0], labels.float())
        assert torch.equal(second, -first)
    assert all(len(labels) > 1 for _, labels in batches)  # BatchNorm needs two


def test_passes_differ_and_repeat() -> None:
    pool = pool_of({0: 12, 1: 12})
    order = [labels.tolist() for _, labels in loaded(pool, [0, 1])]
    assert order == [labels.tolist() for _, labels in loaded(pool, [0, 1])]
    assert order != [labels.tolist() for _, labels in loaded(pool, [0, 1], epoch=1)]
    assert order != [labels.tolist() for _, labels in loaded(pool, [0, 1], round_=1)]
    assert any({label // 1000 for label in batch} == {0, 1} for batch in order)


def test_clients_that_are_not_asked_for_are_left_out() -> None:
    pool = pool_of({0: 5, 1: 5})
    assert {int(x) // 1000 for _, labels in loaded(pool, [1, 7]) for x in labels} == {1}
    assert loaded(pool, []) == []
    assert 0 in pool
    assert 7 not in pool
    assert pool.clients == [0, 1]


@pytest.mark.parametrize("files", [TensorStore, None], ids=["elsewhere", "here"])
def test_state_restores_the_pool(files: type[TensorStore] | None) -> None:
    pool = pool_of({0: 5, 2: 7})
    other = SmashedPool(small_task())
    other.files = pool.files if files is None else files()
    other.load_state_dict(pool.state_dict())
    for (ours, labels), (theirs, same) in zip(
        loaded(pool, [0, 2], 3), loaded(other, [0, 2], 3), strict=True
    ):
        assert torch.equal(labels, same)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
