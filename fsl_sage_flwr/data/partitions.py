"""Divide a dataset among clients with flwr-datasets' partitioners.

flwr-datasets imports seaborn and matplotlib, which takes 1.5 CPU-seconds in every process that a
deployment starts for a message. Only the functions that divide a dataset import it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..registries import Registry
from .errors import DatasetError

if TYPE_CHECKING:
    import datasets
    from flwr_datasets.partitioner import Partitioner


@dataclass(frozen=True)
class Distribution:
    """A division of a dataset among clients.

    Attributes
    ----------
    name : str
        ``iid``; ``noniid_dirichlet``: every client gets the same number of examples (a
        remainder is not used), with class proportions drawn from a Dirichlet distribution
        (Acar et al., arXiv 2111.04263, as in flwr-datasets);
        ``shards``: every client gets shards of one label each; ``natural``: all examples of
        one person (FEMNIST's writers) go to the same client; or another name in
        :data:`DISTRIBUTIONS`.
    alpha : float
        Parameter of the Dirichlet distribution per class; smaller values are less equal. Hsu et al.
        (arXiv 1909.06335) divide their α by the number of classes: with ten equally frequent
        classes it is ten times this one.
    shards_per_client : int
        Shards per client, for ``shards``.
    seed : int
        Seed of the division.
    """

    name: str = "iid"
    alpha: float = 1.0
    shards_per_client: int = 2
    seed: int = 0


Factory = Callable[[Distribution, int, "datasets.Dataset"], "Partitioner"]
"""Makes a partitioner from a distribution, the number of clients and the table of examples.

The table has the columns ``row``, ``label`` (only labels that occur, numbered from 0) and, if
known, ``id`` (the person of each example). The partitioner must make one partition per client. It
receives the table unless the factory has set its ``dataset``.
"""


Rows = Callable[[Distribution, int, int], list[list[int]]]
"""Returns each client's rows, from a distribution, the number of clients and of examples."""


def _iid(distribution: Distribution, clients: int, examples: int) -> list[list[int]]:
    """Return the rows of flwr-datasets' ``IidPartitioner`` on a shuffled table.

    Importing that package and ``datasets`` takes a second or two, a third of the start of a run on
    the digits.
    """
    order = np.random.default_rng(distribution.seed % 2**32).permutation(examples)
    return [part.tolist() for part in np.array_split(order, clients)]


def _dirichlet(distribution: Distribution, clients: int, table: datasets.Dataset) -> Partitioner:
    from flwr_datasets.partitioner import InnerDirichletPartitioner

    return InnerDirichletPartitioner(
        partition_sizes=[len(table) // clients] * clients,
        partition_by="label",
        alpha=distribution.alpha,
        seed=distribution.seed,
    )


def _shards(distribution: Distribution, clients: int, table: datasets.Dataset) -> Partitioner:
    from flwr_datasets.partitioner import ShardPartitioner

    shards = clients * distribution.shards_per_client
    if shards > len(table):
        raise DatasetError(
            f"{len(table)} training examples do not make {shards} shards; lower shards-per-client"
        )
    return ShardPartitioner(
        num_partitions=clients,
        partition_by="label",
        num_shards_per_partition=distribution.shards_per_client,
        seed=distribution.seed,
    )


def _natural(distribution: Distribution, clients: int, table: datasets.Dataset) -> Partitioner:
    from flwr_datasets.partitioner import NaturalIdPartitioner

    if "id" not in table.column_names:
        raise DatasetError(
            "distribution 'natural' needs the person of each example: use femnist, or a "
            "local directory with a column writer_id, user_id or client_id"
        )
    people, person = np.unique(np.asarray(table["id"][:]), return_inverse=True)
    if len(people) < clients:
        raise DatasetError(
            f"distribution 'natural' cannot deal {len(people)} people to {clients} clients; "
            f"give at most {len(people)} clients"
        )
    # NaturalIdPartitioner makes one partition per id; the ids here are client numbers.
    order = np.random.default_rng(distribution.seed).permutation(len(people))
    partitioner = NaturalIdPartitioner(partition_by="client")
    partitioner.dataset = table.add_column("client", order[person] % clients)
    return partitioner


@dataclass(frozen=True)
class DistributionEntry:
    """A distribution that a run can name.

    Attributes
    ----------
    factory : callable, optional
        Makes the partitioner.
    keys : collection of str
        Keys among ``alpha`` and ``shards-per-client`` that the factory uses. A run that sets
        another one is refused.
    rows : callable, optional
        Divides by itself, in place of a factory.
    """

    factory: Factory | None = None
    keys: Collection[str] = ("alpha", "shards-per-client")
    rows: Rows | None = None


DISTRIBUTIONS = Registry[DistributionEntry]("distribution", DistributionEntry)
"""Distributions by name: valid for ``distribution``."""

DISTRIBUTIONS.register("iid", DistributionEntry(keys=(), rows=_iid))
DISTRIBUTIONS.register("noniid_dirichlet", DistributionEntry(_dirichlet, keys=("alpha",)))
DISTRIBUTIONS.register("shards", DistributionEntry(_shards, keys=("shards-per-client",)))
DISTRIBUTIONS.register("natural", DistributionEntry(_natural, keys=()))

DISTRIBUTION_KEYS: dict[str, Collection[str]] = {}
"""Keys of the distributions that one task alone has, by name."""


def distribution_keys(name: str) -> Collection[str] | None:
    """Return the keys that a distribution uses; None for a name that is not registered here."""
    entry = DISTRIBUTIONS.get(name)
    return DISTRIBUTION_KEYS.get(name) if entry is None else entry.keys


def partition_indices(
    labels: Tensor, clients: int, distribution: Distribution, ids: Tensor | None = None
) -> list[list[int]]:
    """Return each client's rows.

    The partitioner gets labels, ids and row numbers only, so no image is decoded.

    Parameters
    ----------
    labels : Tensor
        ``(N,)``, int64.
    clients : int
        Number of clients.
    distribution : Distribution
        How to divide.
    ids : Tensor, optional
        ``(N,)``, int64, the person of each example; required by ``natural``.

    Raises
    ------
    DatasetError
        There are fewer than two examples per client, or the distribution cannot divide them.
    """
    if len(labels) < 2 * clients:
        raise DatasetError(
            f"{len(labels)} training examples are too few for {clients} clients; "
            "every client needs at least two"
        )
    entry = DISTRIBUTIONS[distribution.name]
    if entry.rows is not None:
        parts = entry.rows(distribution, clients, len(labels))
    elif entry.factory is not None:
        parts = _partitioned(entry.factory, labels, clients, distribution, ids)
    else:
        raise DatasetError(
            f"distribution {distribution.name!r} was registered without a factory: give "
            "DistributionEntry a factory, or rows"
        )
    smallest = min(range(clients), key=lambda i: len(parts[i]))
    if len(parts[smallest]) < 2:
        raise DatasetError(
            f"distribution {distribution.name!r} gives client {smallest} only "
            f"{len(parts[smallest])} example(s); every client needs at least two: try fewer "
            "clients or another seed"
        )
    return parts


def _partitioned(
    factory: Factory, labels: Tensor, clients: int, distribution: Distribution, ids: Tensor | None
) -> list[list[int]]:
    """Return each client's rows by a partitioner of flwr-datasets."""
    import datasets

    # The Dirichlet partitioner requires every label from 0 to the highest.
    _, occurring = torch.unique(labels, return_inverse=True)
    columns = {"row": list(range(len(labels))), "label": occurring.tolist()}
    if ids is not None:
        columns["id"] = ids.tolist()

    class Table(datasets.Dataset):  # type: ignore[misc]
        """Returns columns as lists: numpy would read datasets' own columns row by row."""

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            return found[:] if isinstance(key, str) else found

    table = Table.from_dict(columns)
    partitioner = factory(distribution, clients, table)
    if not partitioner.is_dataset_assigned():
        partitioner.dataset = table
    try:
        with warnings.catch_warnings():
            # Partitions of equal size leave a remainder out on purpose.
            warnings.filterwarnings("ignore", message="The sum of the partition_sizes")
            return [partitioner.load_partition(i)["row"][:] for i in range(clients)]
    except ValueError as error:
        hint = f"; alpha = {distribution.alpha:g} is too small"
        raise DatasetError(
            f"{distribution.name} cannot divide the examples: {error}"
            f"{hint if distribution.name == 'noniid_dirichlet' else ''}"
        ) from error
