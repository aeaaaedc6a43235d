import torch
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.seeding import derive_seed

parts = st.lists(st.integers() | st.text(alphabet="abc-019", max_size=6), max_size=4)


@given(parts)
def test_seeds_are_accepted_by_torch(values):
    seed = derive_seed(*values)
    assert 0 <= seed < 2**63
    assert torch.Generator().manual_seed(seed).initial_seed() == seed


@given(parts, parts)
def test_equal_parts_equal_seeds_and_no_others(left, right):
    assert (derive_seed(*left) == derive_seed(*right)) == (left == right)


def test_order_type_and_boundaries_matter():
    seeds = [
        derive_seed(1, 2),
        derive_seed(2, 1),
        derive_seed("1", 2),
        derive_seed("1", "2"),
        derive_seed("12"),
        derive_seed(12),
        derive_seed("1", "2", ""),
    ]
    assert len(set(seeds)) == len(seeds)


def test_the_seed_of_a_purpose_never_changes():
    # A change here changes the results of every published run.
    assert derive_seed(200, "batches", 3, 7) == 4_850_476_443_311_516_091
