from collections import Counter

import pytest
import torch
from datasets import Dataset
from flwr_datasets.partitioner import IidPartitioner, LinearPartitioner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.data import (
    DISTRIBUTIONS,
    DatasetError,
    Distribution,
    DistributionEntry,
    partition_indices,
)


def labels_of(count, classes, seed=0):
    """Labels in random order, with every class among them."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]


def parts_of(labels, clients, name, ids=None, **how):
    """Divide; every two examples are one person's, unless said otherwise."""
    ids = torch.arange(len(labels)) // 2 if ids is None else ids
    return partition_indices(labels, clients, Distribution(name=name, **how), ids)


@st.composite
def cases(draw):
    clients = draw(st.integers(1, 8))
    count = draw(st.integers(2 * clients, 90))
    labels = labels_of(count, draw(st.integers(1, min(6, count))), draw(st.integers(0, 99)))
    return labels, clients, draw(st.integers(0, 2**40))


def check_disjoint_rows(parts, count):
    rows = [row for part in parts for row in part]
    assert len(rows) == len(set(rows))
    assert all(type(row) is int and 0 <= row < count for row in rows)
    assert min(map(len, parts)) >= 2
    return rows


@settings(max_examples=25, deadline=None)
@given(cases())
def test_iid_parts_cover_everything_evenly(case):
    labels, clients, seed = case
    parts = parts_of(labels, clients, "iid", seed=seed)
    assert sorted(check_disjoint_rows(parts, len(labels))) == list(range(len(labels)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(cases())
def test_iid_parts_are_those_of_flwr_datasets(case):
    labels, clients, seed = case
    table = Dataset.from_dict({"row": list(range(len(labels)))})
    partitioner = IidPartitioner(clients)
    partitioner.dataset = table.shuffle(seed=seed % 2**32)
    expected = [partitioner.load_partition(k)["row"][:] for k in range(clients)]
    assert parts_of(labels, clients, "iid", seed=seed) == expected


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(cases(), st.floats(0.1, 100))
def test_dirichlet_parts_are_equal_and_disjoint(case, alpha):
    labels, clients, seed = case
    parts = parts_of(labels, clients, "noniid_dirichlet", seed=seed, alpha=alpha)
    check_disjoint_rows(parts, len(labels))
    assert {len(part) for part in parts} == {len(labels) // clients}


@pytest.mark.slow
def test_alpha_is_that_of_each_class():
    """The mean of the squared proportions of 10 classes of Dirichlet(1, …) is 2/11.

    Hsu et al.'s α = 1 is 0.1 for each class, and the mean then 1.1/2.
    """
    labels = torch.arange(6000) % 10
    parts = partition_indices(labels, 60, Distribution("noniid_dirichlet", alpha=1.0, seed=5))
    shares = torch.stack([torch.bincount(labels[p], minlength=10) / len(p) for p in parts])
    assert shares.square().sum(dim=1).mean().item() == pytest.approx(2 / 11, abs=0.05)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(cases(), st.integers(1, 3))
def test_shard_parts_are_equal_and_disjoint(case, shards):
    labels, clients, seed = case
    assume(len(labels) >= shards * clients)
    parts = parts_of(labels, clients, "shards", seed=seed, shards_per_client=shards)
    check_disjoint_rows(parts, len(labels))
    assert {len(part) for part in parts} == {shards * (len(labels) // (shards * clients))}


def test_refuses_more_shards_than_examples():
    with pytest.raises(DatasetError, match=r"shards"):
        parts_of(labels_of(11, 2), 4, "shards", shards_per_client=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_seed_draws_the_division(name):
    labels = labels_of(100, 5)
    state = torch.get_rng_state()
    first, same, other = (parts_of(labels, 4, name, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert torch.equal(torch.get_rng_state(), state)


def test_shards_hold_few_labels():
    labels = labels_of(1000, 10)
    for part in parts_of(labels, 10, "shards", shards_per_client=2):
        assert len(set(labels[part].tolist())) <= 4  # a shard may lie across two labels
    (whole,) = Counter(
        len(set(labels[part].tolist()))
        for part in parts_of(labels, 10, "shards", shards_per_client=1)
    )
    assert whole == 1


def largest_share(alpha):
    labels = labels_of(2000, 10)
    parts = parts_of(labels, 10, "noniid_dirichlet", alpha=alpha, seed=3)
    counts = [max(Counter(labels[part].tolist()).values()) for part in parts]
    return sum(counts) / 2000


@pytest.mark.slow
def test_small_alpha_is_unequal():
    assert largest_share(0.1) > 0.4
    assert largest_share(1000.0) < 0.15


def test_very_small_alpha_divides_or_is_refused():
    for seed in range(6):
        parts, refusal = None, None
        try:
            parts = parts_of(labels_of(100, 10), 10, "noniid_dirichlet", alpha=0.001, seed=seed)
        except DatasetError as error:
            refusal = str(error)
        if parts is None:
            assert "alpha" in refusal
        else:
            check_disjoint_rows(parts, 100)
            assert {len(part) for part in parts} == {10}


def test_dirichlet_with_a_label_that_does_not_occur():
    labels = torch.tensor([0, 3] * 10)
    parts = parts_of(labels, 2, "noniid_dirichlet", alpha=1.0)
    assert sorted(check_disjoint_rows(parts, 20)) == list(range(20))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_refuses_too_few_examples(name):
    message = r"^7 training examples are too few for 4 clients; every client needs at least two$"
    with pytest.raises(DatasetError, match=message):
        parts_of(labels_of(7, 2), 4, name)
    assert [len(part) for part in parts_of(labels_of(8, 2), 4, name)] == [2, 2, 2, 2]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    people=st.integers(1, 20), clients=st.integers(1, 8), seed=st.integers(0, 2**40),
    draw=st.integers(0, 99),
)  # fmt: skip
def test_natural_parts_are_whole_people_dealt_evenly(people, clients, seed, draw):
    assume(clients <= people)
    generator = torch.Generator().manual_seed(draw)
    extra = torch.randint(people, (40,), generator=generator)
    ids = torch.cat([torch.arange(people), torch.arange(people), extra])
    ids = 10 * ids[torch.randperm(len(ids), generator=generator)]
    parts = parts_of(labels_of(len(ids), 3), clients, "natural", ids, seed=seed)
    assert sorted(check_disjoint_rows(parts, len(ids))) == list(range(len(ids)))
    owned = [set(ids[part].tolist()) for part in parts]
    assert sum(map(len, owned)) == people
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


def test_natural_refuses_more_clients_than_people():
    ids = torch.arange(20) // 10
    message = r"cannot deal 2 people to 3 clients; give at most 2 clients"
    with pytest.raises(DatasetError, match=message):
        parts_of(labels_of(20, 2), 3, "natural", ids)


def test_natural_refuses_examples_that_are_nobodys():
    message = r"'natural' needs the person of each example: use femnist, or .* writer_id"
    with pytest.raises(DatasetError, match=message):
        partition_indices(labels_of(20, 2), 2, Distribution("natural"))


def test_refuses_a_division_that_leaves_a_client_a_single_example():
    message = r"'natural' gives client \d only 1 example\(s\); every client needs at least two"
    with pytest.raises(DatasetError, match=message):
        parts_of(labels_of(9, 2), 2, "natural", torch.tensor([0] * 8 + [1]))


LINEAR = DistributionEntry(lambda how, clients, table: LinearPartitioner(clients))


def test_a_registered_distribution_divides():
    DISTRIBUTIONS.register("linear", LINEAR)
    try:
        parts = parts_of(labels_of(60, 3), 3, "linear")
        assert [len(part) for part in parts] == [10, 20, 30]
        with pytest.raises(ValueError, match="'linear' is registered already"):
            DISTRIBUTIONS.register("linear", LINEAR)
    finally:
        DISTRIBUTIONS.remove("linear")


def test_partitioners_are_given_whole_columns():
    """A column of datasets' own is read row by row by numpy: seconds of every process."""
    seen = []

    def factory(how, clients, table):
        seen.append(type(table["label"]))
        return LinearPartitioner(clients)

    DISTRIBUTIONS.register("linear", DistributionEntry(factory))
    try:
        parts = parts_of(labels_of(60, 3), 3, "linear")
    finally:
        DISTRIBUTIONS.remove("linear")
    assert [*seen, *map(type, parts)] == [list] * 4
