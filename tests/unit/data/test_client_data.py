import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.data import (
    ClientData,
    Distribution,
    FederatedImages,
    ImageDataset,
    augment,
    normalize,
)
from fsl_sage_flwr.seeding import derive_seed

CPU = torch.device("cpu")


def numbered(count):
    """Images that are all of their number's shade, labelled with it."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 8, 8)
    return ClientData(images.contiguous(), torch.arange(count))


class CountingDataset(ImageDataset):
    """Records its decoded rows."""

    def decode(self, indices=None):
        self.__dict__.setdefault("decoded", []).append(indices)
        return super().decode(indices)


def dataset(count=40):
    data = numbered(count)
    return CountingDataset(data.labels % 4, 4, (3, 8, 8), data.images)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), batch_size=st.integers(2, 20), seed=st.integers(0, 2**62))
def test_an_epoch_takes_every_example_once(count, batch_size, seed):
    data = numbered(count)
    batches = list(data.epoch(batch_size, seed, augmented=False))
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == list(range(count))
    for images, labels in batches:
        assert torch.equal(images, normalize(data.images[labels]))
    sizes = [len(labels) for _, labels in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert count == 1 or sizes[-1] > 1


@pytest.mark.parametrize(
    ("count", "sizes"), [(9, [4, 5]), (8, [4, 4]), (10, [4, 4, 2]), (1, [1]), (5, [5]), (3, [3])]
)
def test_a_last_single_example_joins_the_batch_before(count, sizes):
    batches = numbered(count).epoch(4, 0, augmented=False)
    assert [len(labels) for _, labels in batches] == sizes


def test_the_seed_draws_order_and_augmentation():
    data = numbered(30)
    first, same, other = (list(data.epoch(8, s, augmented=True)) for s in (5, 5, 6))
    for (ours, our_labels), (theirs, their_labels) in zip(first, same, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(our_labels, their_labels)
    assert not torch.equal(torch.cat([b[1] for b in first]), torch.cat([b[1] for b in other]))
    assert not torch.equal(torch.cat([b[1] for b in first]), torch.arange(30))


def test_an_epoch_does_not_touch_the_global_generator():
    state = torch.get_rng_state()
    list(numbered(30).epoch(8, 5, augmented=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_augmented_batches_are_augmented_before_they_are_normalised():
    data = numbered(10)
    generator = torch.Generator().manual_seed(5)
    order = torch.randperm(10, generator=generator)
    epoch = data.epoch(5, 5, augmented=True)
    for k, rows in enumerate((order[:5], order[5:])):
        images, labels = epoch[k]
        assert torch.equal(labels, rows)
        generator = torch.Generator().manual_seed(derive_seed(5, "augmentation", k))
        assert torch.equal(images, normalize(augment(data.images[rows], generator)))
        assert not torch.equal(images, normalize(data.images[rows]))


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 4, 1]), (8, [4, 4]), (3, [3])])
def test_in_order_takes_every_example_as_it_is(count, sizes):
    data = numbered(count)
    batches = list(data.in_order(4))
    assert [len(labels) for _, labels in batches] == sizes
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.labels)
    assert torch.equal(torch.cat([images for images, _ in batches]), normalize(data.images))


def test_parts_are_the_partitions_rows():
    source = dataset()
    federated = FederatedImages(source, Distribution(seed=1), CPU)
    parts = [federated.part(i, 4) for i in range(4)]
    rows = torch.cat([part.images[:, 0, 0, 0] for part in parts]).long()
    assert sorted(rows.tolist()) == list(range(40))
    assert torch.equal(torch.cat([part.labels for part in parts]), rows % 4)


def test_each_part_is_decoded_once_and_only_when_asked_for():
    source = dataset()
    federated = FederatedImages(source, Distribution(), CPU)
    assert not hasattr(source, "decoded")
    first = federated.part(2, 4)
    assert len(source.decoded) == 1
    assert len(source.decoded[0]) == 10
    assert federated.part(2, 4) is first
    assert len(source.decoded) == 1
    federated.part(1, 4)
    assert len(source.decoded) == 2


def test_another_number_of_clients_is_another_division():
    federated = FederatedImages(dataset(), Distribution(), CPU)
    assert len(federated.part(0, 4).labels) == 10
    assert len(federated.part(0, 8).labels) == 5
    assert len(federated.part(0, 4).labels) == 10


def test_a_batch_is_the_same_whether_or_not_those_before_it_were_made():
    data = numbered(20)
    whole = list(data.epoch(4, 3, augmented=True))
    alone = data.epoch(4, 3, augmented=True)[3]
    assert torch.equal(whole[3][0], alone[0])
    (sliced,) = data.epoch(4, 3, augmented=True)[3:4]
    assert torch.equal(whole[3][0], sliced[0])


def test_batches_say_which_examples_they_hold():
    data = numbered(21)
    for seed in (3, 4):
        epoch = data.epoch(4, seed, augmented=True)
        for k, (_, labels) in enumerate(epoch):
            assert torch.equal(data.labels[epoch.sample_numbers(k)], labels)


@pytest.mark.parametrize(("count", "kept_out"), [(10, 3), (3, 1), (2, 0), (40, 10)])
def test_a_validation_part_is_kept_out_of_training(count, kept_out):
    source = ClientData(
        torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1), torch.arange(count)
    )
    training, validation = source.train_holdout_split(0.26, 7)
    assert len(validation.labels) == kept_out
    rows = torch.cat([training.labels, validation.labels])
    assert rows.sort().values.tolist() == list(range(count))
    for part in (training, validation):
        assert torch.equal(part.images.flatten().long(), part.labels)
    assert torch.equal(source.train_holdout_split(0.26, 7)[1].labels, validation.labels)


def test_every_client_keeps_out_examples_of_its_own():
    federated = FederatedImages(dataset(), Distribution(seed=1), CPU, validation_fraction=0.2)
    sizes = [
        (len(federated.part(i, 4).labels), len(federated.validation_part(i, 4).labels))
        for i in range(4)
    ]
    assert sizes == [(8, 2)] * 4
    assert len(FederatedImages(dataset(), Distribution(), CPU).validation_part(0, 4).labels) == 0
