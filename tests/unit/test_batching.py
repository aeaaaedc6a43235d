import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.batching import batches_of


@given(count=st.integers(0, 200), size=st.integers(1, 50))
def test_batches_cover_everything_in_order(count, size):
    batches = batches_of(count, size)
    assert [row for batch in batches for row in range(count)[batch]] == list(range(count))
    lengths = [batch.stop - batch.start for batch in batches]
    assert all(length == size for length in lengths[:-1])
    assert all(0 < length <= size + 1 for length in lengths)


@given(count=st.integers(2, 200), size=st.integers(2, 50))
def test_no_batch_is_a_single_sample(count, size):
    assert min(batch.stop - batch.start for batch in batches_of(count, size)) >= 2


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [
        (0, 4, []),
        (1, 4, [1]),
        (4, 4, [4]),
        (5, 4, [5]),
        (6, 4, [4, 2]),
        (9, 4, [4, 5]),
        (3, 1, [1, 2]),
    ],
)
def test_lengths(count, size, lengths):
    assert [batch.stop - batch.start for batch in batches_of(count, size)] == lengths
