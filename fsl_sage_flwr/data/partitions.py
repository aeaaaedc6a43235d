"""Divide a dataset among clients, by flwr-datasets' partitioners."""

from collections.abc import Callable
from dataclasses import dataclass

import datasets
import torch
from flwr_datasets.partitioner import (
    IidPartitioner,
    InnerDirichletPartitioner,
    Partitioner,
    ShardPartitioner,
)
from torch import Tensor

from .datasets import DatasetError


@dataclass(frozen=True)
class Distribution:
    """How a dataset is divided.

    Attributes
    ----------
    name : str
        ``iid``; ``noniid_dirichlet``: every client the same number of examples, with
        class proportions drawn from a Dirichlet distribution (Hsu et al., 2019);
        ``noniid``: shards of one label each.
    alpha : float
        Concentration of the Dirichlet distribution; small means unequal.
    shards_per_client : int
        For ``noniid``.
    seed : int
        Draws the division.
    """

    name: str = "iid"
    alpha: float = 1.0
    shards_per_client: int = 2
    seed: int = 0


Factory = Callable[[Distribution, int, int], Partitioner]


def _iid(distribution: Distribution, clients: int, examples: int) -> Partitioner:
    return IidPartitioner(num_partitions=clients)


def _dirichlet(distribution: Distribution, clients: int, examples: int) -> Partitioner:
    return InnerDirichletPartitioner(
        partition_sizes=[examples // clients] * clients,
        partition_by="label",
        alpha=distribution.alpha,
        seed=distribution.seed,
    )


def _shards(distribution: Distribution, clients: int, examples: int) -> Partitioner:
    return ShardPartitioner(
        num_partitions=clients,
        partition_by="label",
        num_shards_per_partition=distribution.shards_per_client,
        seed=distribution.seed,
    )


DISTRIBUTIONS: dict[str, Factory] = {
    "iid": _iid,
    "noniid_dirichlet": _dirichlet,
    "noniid": _shards,
}


def partition_indices(labels: Tensor, clients: int, distribution: Distribution) -> list[list[int]]:
    """Return each client's rows.

    Only labels and row numbers go through the partitioner, so that no image is decoded.

    Parameters
    ----------
    labels : Tensor
        ``(N,)``.
    clients : int
        Number of parts.
    distribution : Distribution
        How to divide.

    Raises
    ------
    DatasetError
        There are fewer than two examples per client.
    """
    if len(labels) < 2 * clients:
        raise DatasetError(
            f"{len(labels)} training examples are too few for {clients} clients; "
            "every client needs at least two"
        )
    shards = clients * distribution.shards_per_client
    if distribution.name == "noniid" and shards > len(labels):
        raise DatasetError(
            f"{len(labels)} training examples do not make {shards} shards; lower shards-per-client"
        )
    # The Dirichlet partitioner wants every label up to the highest to occur.
    _, occurring = torch.unique(labels, return_inverse=True)
    table = datasets.Dataset.from_dict({"row": range(len(labels)), "label": occurring.tolist()})
    if distribution.name == "iid":
        table = table.shuffle(seed=distribution.seed % 2**32)
    partitioner = DISTRIBUTIONS[distribution.name](distribution, clients, len(labels))
    partitioner.dataset = table
    try:
        return [list(partitioner.load_partition(i)["row"]) for i in range(clients)]
    except ValueError as error:
        hint = f"; alpha = {distribution.alpha:g} is too small"
        raise DatasetError(
            f"{distribution.name} cannot divide the examples: {error}"
            f"{hint if distribution.name == 'noniid_dirichlet' else ''}"
        ) from error
