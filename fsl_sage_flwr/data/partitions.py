"""Divide a dataset among clients with flwr-datasets' partitioners.

flwr-datasets imports seaborn and matplotlib, which takes 1.5 CPU-seconds in every process that a
deployment starts for a message. So only the functions that divide a dataset import it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import DatasetError

if TYPE_CHECKING:
    import datasets
    from flwr_datasets.partitioner import Partitioner


@dataclass(frozen=True)
class Distribution:
    """How a dataset is divided.

    Attributes
    ----------
    name : str
        ``iid``; ``noniid_dirichlet``: every client gets the same number of examples (a
        remainder is not used), with class proportions drawn from a Dirichlet distribution
        (Acar et al., arXiv 2111.04263, as in flwr-datasets);
        ``shards``: every client gets shards of one label each; ``natural``: all examples of
        one person (FEMNIST's writers) go to the same client; or a name that was added with
        :func:`register_distribution`.
    alpha : float
        Parameter of the Dirichlet distribution for each class; small means unequal. Hsu et al.
        (arXiv 1909.06335) share theirs among the classes: with ten of the same size their α is
        ten times this one.
    shards_per_client : int
        Shards of each client, for ``shards``.
    seed : int
        Draws the division.
    """

    name: str = "iid"
    alpha: float = 1.0
    shards_per_client: int = 2
    seed: int = 0


Factory = Callable[[Distribution, int, "datasets.Dataset"], "Partitioner"]
"""Makes a partitioner from a distribution, the number of clients and the table of examples.

The table has the columns ``row``, ``label`` (only labels that occur, numbered from 0) and, if it
is known, ``id`` (the person the example comes from). The partitioner must make one partition per
client. It is given the table unless the factory has already set its ``dataset``.
"""


def _iid(distribution: Distribution, clients: int, table: datasets.Dataset) -> Partitioner:
    from flwr_datasets.partitioner import IidPartitioner

    partitioner = IidPartitioner(num_partitions=clients)
    partitioner.dataset = table.shuffle(seed=distribution.seed % 2**32)
    return partitioner


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
            "distribution 'natural' needs to know whose each example is: use femnist, or a "
            "local directory with a column writer_id, user_id or client_id"
        )
    people, person = np.unique(np.asarray(table["id"][:]), return_inverse=True)
    if len(people) < clients:
        raise DatasetError(
            f"distribution 'natural' cannot deal {len(people)} people to {clients} clients; "
            f"give at most {len(people)} clients"
        )
    # NaturalIdPartitioner makes one partition per id, so it is given client numbers as ids.
    order = np.random.default_rng(distribution.seed).permutation(len(people))
    partitioner = NaturalIdPartitioner(partition_by="client")
    partitioner.dataset = table.add_column("client", order[person] % clients)
    return partitioner


DISTRIBUTIONS: dict[str, Factory] = {}
DISTRIBUTION_KEYS: dict[str, Collection[str]] = {}
"""The run configuration's keys that a distribution depends on; one not listed may depend on all."""


def register_distribution(
    name: str, factory: Factory, keys: Collection[str] = ("alpha", "shards-per-client")
) -> None:
    """Add a distribution that a run can choose with ``distribution = "name"``.

    The server and all clients must import the module that calls this function.

    Parameters
    ----------
    name : str
        The name.
    factory : callable
        Makes the partitioner.
    keys : collection of str
        Of ``alpha`` and ``shards-per-client``, those that the factory uses; a run that is given
        another one is refused.

    Raises
    ------
    ValueError
        The name is already taken.
    """
    if name in DISTRIBUTIONS:
        raise ValueError(f"distribution {name!r} is registered already; choose another name")
    DISTRIBUTIONS[name], DISTRIBUTION_KEYS[name] = factory, keys


register_distribution("iid", _iid, keys=())
register_distribution("noniid_dirichlet", _dirichlet, keys=("alpha",))
register_distribution("shards", _shards, keys=("shards-per-client",))
register_distribution("natural", _natural, keys=())


def partition_indices(
    labels: Tensor, clients: int, distribution: Distribution, ids: Tensor | None = None
) -> list[list[int]]:
    """Return each client's rows.

    The partitioner gets only labels, ids and row numbers, so no image is decoded.

    Parameters
    ----------
    labels : Tensor
        ``(N,)``, int64.
    clients : int
        Number of parts.
    distribution : Distribution
        How to divide.
    ids : Tensor, optional
        ``(N,)``, int64: the person each example comes from; ``natural`` needs it.

    Raises
    ------
    DatasetError
        There are fewer than two examples per client, or the distribution cannot divide
        them.
    """
    import datasets

    if len(labels) < 2 * clients:
        raise DatasetError(
            f"{len(labels)} training examples are too few for {clients} clients; "
            "every client needs at least two"
        )
    # The Dirichlet partitioner requires that every label from 0 to the highest occurs.
    _, occurring = torch.unique(labels, return_inverse=True)
    columns = {"row": list(range(len(labels))), "label": occurring.tolist()}
    if ids is not None:
        columns["id"] = ids.tolist()

    class Table(datasets.Dataset):  # type: ignore[misc]
        """Gives a column as a list: numpy would read datasets' own columns row by row."""

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            return found[:] if isinstance(key, str) else found

    table = Table.from_dict(columns)
    partitioner = DISTRIBUTIONS[distribution.name](distribution, clients, table)
    if not partitioner.is_dataset_assigned():
        partitioner.dataset = table
    try:
        with warnings.catch_warnings():
            # Parts of equal size leave a remainder out on purpose.
            warnings.filterwarnings("ignore", message="The sum of the partition_sizes")
            parts = [partitioner.load_partition(i)["row"][:] for i in range(clients)]
    except ValueError as error:
        hint = f"; alpha = {distribution.alpha:g} is too small"
        raise DatasetError(
            f"{distribution.name} cannot divide the examples: {error}"
            f"{hint if distribution.name == 'noniid_dirichlet' else ''}"
        ) from error
    smallest = min(range(clients), key=lambda i: len(parts[i]))
    if len(parts[smallest]) < 2:
        raise DatasetError(
            f"distribution {distribution.name!r} gives client {smallest} only "
            f"{len(parts[smallest])} example(s); every client needs at least two: try fewer "
            "clients or another seed"
        )
    return parts
