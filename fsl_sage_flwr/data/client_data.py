"""Batches of one client's partition."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from ..batching import batches_of
from ..seeding import derive_seed
from .augmentation import augment, normalize
from .decoded_partition_cache import DecodedPartitionCache
from .image_dataset import ImageDataset
from .partitions import Distribution, partition_indices


@dataclass(frozen=True)
class ClientData:
    """One client's decoded examples, on the client's device.

    Attributes
    ----------
    images : Tensor
        ``(N, C, H, W)``, uint8.
    labels : Tensor
        ``(N,)``, int64.
    """

    images: Tensor
    labels: Tensor

    def epoch(self, batch_size: int, seed: int, *, augmented: bool) -> "Epoch":
        """Return one pass over all examples; ``seed`` draws the order and the augmentation."""
        return Epoch(self, batch_size, seed, augmented=augmented)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all examples, not shuffled and not augmented, for evaluation."""
        for start in range(0, len(self.labels), batch_size):
            rows = slice(start, start + batch_size)
            yield normalize(self.images[rows]), self.labels[rows]

    def train_holdout_split(self, fraction: float, seed: int) -> tuple["ClientData", "ClientData"]:
        """Return a training and a validation part, drawn with the seed.

        The validation part gets ``fraction`` of the examples, at least one; at least two examples
        remain for training.
        """
        count = len(self.labels)
        kept_out = min(max(1, round(fraction * count)), count - 2)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        rows = order.to(self.labels.device)
        validation, training = rows[:kept_out], rows[kept_out:]
        return (
            ClientData(self.images[training], self.labels[training]),
            ClientData(self.images[validation], self.labels[validation]),
        )


class Epoch(Sequence[tuple[Tensor, Tensor]]):
    """Batches of one pass over a client's examples.

    Each batch is augmented on request with its own seed: the fifth batch does not depend on whether
    the first four were made.

    Parameters
    ----------
    data : ClientData
        The examples.
    batch_size : int
        Examples per batch. A single example at the end joins the last batch, because BatchNorm
        cannot train on one example.
    seed : int
        Seed of the order and the augmentation.
    augmented : bool
        Whether to crop and flip.
    """

    def __init__(self, data: ClientData, batch_size: int, seed: int, *, augmented: bool) -> None:
        self._data, self._seed, self._augmented = data, seed, augmented
        generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(len(data.labels), generator=generator)
        self._rows = batches_of(len(self._order), batch_size)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[Tensor, Tensor]]: ...

    def __getitem__(
        self, index: int | slice
    ) -> tuple[Tensor, Tensor] | list[tuple[Tensor, Tensor]]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        k = range(len(self))[index]
        chosen = self._order[self._rows[k]].to(self._data.images.device)
        images = self._data.images[chosen]
        if self._augmented:
            seed = derive_seed(self._seed, "augmentation", k)
            images = augment(images, torch.Generator().manual_seed(seed))
        return normalize(images), self._data.labels[chosen]

    def sample_numbers(self, k: int) -> Tensor:
        """Return the indices of batch ``k``'s examples in the client's data."""
        return self._order[self._rows[k]]


class FederatedImages:
    """A training set divided among clients; each partition is read once per process.

    Parameters
    ----------
    dataset : ImageDataset
        The training split.
    distribution : Distribution
        Division among clients.
    device : torch.device
        Device of the decoded partitions.
    validation_fraction : float
        Fraction of each client's examples held out from training; 0 holds out none.
    files : DecodedPartitionCache, optional
        Shares decoded partitions with other processes, which then neither decode images nor
        compute the division: importing flwr-datasets takes more than a CPU-second, and a
        deployment starts a process per message.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        distribution: Distribution,
        device: torch.device,
        validation_fraction: float = 0.0,
        files: DecodedPartitionCache | None = None,
    ) -> None:
        self._dataset = dataset
        self._distribution = distribution
        self._device = device
        self._validation_fraction = validation_fraction
        self._files = files
        self._rows: dict[int, list[list[int]]] = {}
        self._parts: dict[tuple[int, int], tuple[ClientData, ClientData]] = {}

    def part(self, partition_id: int, num_partitions: int) -> ClientData:
        """Return a client's training examples."""
        return self._both(partition_id, num_partitions)[0]

    def validation_part(self, partition_id: int, num_partitions: int) -> ClientData:
        """Return a client's held-out examples."""
        return self._both(partition_id, num_partitions)[1]

    def rows(self, partition_id: int, num_partitions: int) -> list[int] | None:
        """Return a client's row numbers, or None for all rows."""
        if num_partitions not in self._rows:
            self._rows[num_partitions] = partition_indices(
                self._dataset.labels,
                num_partitions,
                self._distribution,
                self._dataset.natural_ids(),
            )
        return self._rows[num_partitions][partition_id]

    def _both(self, partition_id: int, num_partitions: int) -> tuple[ClientData, ClientData]:
        key = (partition_id, num_partitions)
        if key not in self._parts:
            images, labels = self._read(*key)
            whole = ClientData(images.to(self._device), labels.to(self._device))
            if self._validation_fraction:
                seed = derive_seed(self._distribution.seed, "validation", *key)
                self._parts[key] = whole.train_holdout_split(self._validation_fraction, seed)
            else:
                self._parts[key] = whole, ClientData(whole.images[:0], whole.labels[:0])
        return self._parts[key]

    def _read(self, partition_id: int, num_partitions: int) -> tuple[Tensor, Tensor]:
        images, labels = self._decoded(partition_id, num_partitions)
        # The strides of a single channel are ambiguous, and a convolution chooses its kernel by
        # them: cached and decoded images must have the same strides, or the bits differ.
        return images.flatten().view(images.shape), labels

    def _decoded(self, partition_id: int, num_partitions: int) -> tuple[Tensor, Tensor]:
        key = (partition_id, num_partitions)
        if self._files is None:
            return self._dataset.decode(self.rows(*key))
        part = self._files.read(*key)
        if part is None:
            part = self._dataset.decode(self.rows(*key))
            self._files.write(*key, *part)
        return part


class NodeImages(FederatedImages):
    """A node's own data, all of it for the node's client."""

    def rows(self, partition_id: int, num_partitions: int) -> None:
        """Return None, for all rows."""
        return
