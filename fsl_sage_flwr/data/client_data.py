"""Batches of one client's part of a dataset."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..batching import batches_of
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

    def epoch(
        self, batch_size: int, seed: int, *, augmented: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate once over all examples in an order, and with augmentation, from the seed.

        A last batch of a single example joins the one before: BatchNorm cannot train on it.
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.labels), generator=generator)
        for rows in batches_of(len(order), batch_size):
            chosen = order[rows].to(self.images.device)
            images = self.images[chosen]
            if augmented:
                images = augment(images, generator)
            yield normalize(images), self.labels[chosen]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all examples as they are, for evaluation."""
        for start in range(0, len(self.labels), batch_size):
            rows = slice(start, start + batch_size)
            yield normalize(self.images[rows]), self.labels[rows]


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
