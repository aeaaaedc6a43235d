"""Batches of one client's part of a dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from ..batching import batches_of
from ..seeding import derive_seed
from .augmentation import augment, normalize
from .datasets import ImageDataset
from .partitions import Distribution, partition_indices


@dataclass(frozen=True)
class ClientData:
    """One client's examples, decoded, on its device.

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
        """Return all examples once, in an order, and with augmentation, from the seed."""
        return Epoch(self, batch_size, seed, augmented=augmented)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all examples as they are, for evaluation."""
        for start in range(0, len(self.labels), batch_size):
            rows = slice(start, start + batch_size)
            yield normalize(self.images[rows]), self.labels[rows]


class Epoch(Sequence[tuple[Tensor, Tensor]]):
    """Batches of one pass over a client's examples.

    Each batch is augmented when it is asked for, from its own seed: the fifth is the
    same whether or not the first four were made.

    Parameters
    ----------
    data : ClientData
        The examples.
    batch_size : int
        A last batch of a single example joins the one before: BatchNorm cannot train on it.
    seed : int
        Draws the order and the augmentation.
    augmented : bool
        Crop and flip.
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


class FederatedImages:
    """A training set divided among clients; each part is decoded once per process.

    Parameters
    ----------
    dataset : ImageDataset
        The training split.
    distribution : Distribution
        How it is divided.
    device : torch.device
        Where the decoded parts lie.
    """

    def __init__(
        self, dataset: ImageDataset, distribution: Distribution, device: torch.device
    ) -> None:
        self._dataset = dataset
        self._distribution = distribution
        self._device = device
        self._rows: dict[int, list[list[int]]] = {}
        self._parts: dict[tuple[int, int], ClientData] = {}

    def part(self, partition_id: int, num_partitions: int) -> ClientData:
        """Return a client's examples."""
        key = (partition_id, num_partitions)
        if key not in self._parts:
            if num_partitions not in self._rows:
                self._rows[num_partitions] = partition_indices(
                    self._dataset.labels, num_partitions, self._distribution
                )
            images, labels = self._dataset.decode(self._rows[num_partitions][partition_id])
            self._parts[key] = ClientData(images.to(self._device), labels.to(self._device))
        return self._parts[key]
