"""Read prompts and completions, and divide them among clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..data import DISTRIBUTION_KEYS, DatasetError, Distribution, partition_indices, read_tables
from ..seeding import derive_seed
from ..task import ClientIdentity
from .columns import Columns
from .rows import Row, Rows

# The hub's own conversion, because the dataset's script is no longer run. Not downloaded here.
HUB_NAMES = {"e2e_nlg": ("tuetschek/e2e_nlg", "refs/convert/parquet")}
BY_LENGTH = "length"
DISTRIBUTION_KEYS[BY_LENGTH] = ("alpha",)
LENGTHS = 10  # classes of row length, of equal size


@dataclass(frozen=True)
class Texts:
    """Prompts and completions of a dataset, with the names of their columns."""

    splits: Mapping[str, tuple[Row, ...]]
    columns: Columns


@lru_cache(maxsize=4)
def load_texts(name: str, columns: Columns) -> Texts:
    """Return the prompts and completions of all splits of a dataset.

    Parameters
    ----------
    name : str
        ``e2e_nlg``, a directory that ``datasets.load_dataset`` can read, or a name on the hub.
    columns : Columns
        Columns of prompts and completions.

    Raises
    ------
    DatasetError
        The dataset cannot be read, a column is missing, or several fit.
    """
    source, revision = HUB_NAMES.get(name, (name, None))
    tables = read_tables(source, name, revision)
    # Splits that were loaded together have the same columns.
    taken = columns.found_in(next(iter(tables.values())), name)
    splits = {
        split: taken.rows_of(table, f"split {split!r} of dataset {name!r}")
        for split, table in tables.items()
    }
    return Texts(splits, taken)


def split_of(name: str, columns: Columns, split: str) -> tuple[Row, ...]:
    """Return one split of a dataset.

    Raises
    ------
    DatasetError
        As :func:`load_texts`; or the split does not exist.
    """
    splits = load_texts(name, columns).splits
    if split not in splits:
        raise DatasetError(
            f"dataset {name!r} has no split {split!r}; its splits are {', '.join(splits)}: "
            f"call a file {split}.csv, .json or .parquet"
        )
    return splits[split]


def own_rows(path: str, columns: Columns) -> tuple[Row, ...]:
    """Return all of a node's own rows, from its ``train`` split or its only split.

    Raises
    ------
    DatasetError
        The data cannot be used.
    """
    if not Path(path).is_absolute() or not Path(path).is_dir():
        raise DatasetError(
            f"data-path = {path!r} is no directory; give the absolute path of this node's data"
        )
    splits = load_texts(path, columns).splits
    return next(iter(splits.values())) if len(splits) == 1 else split_of(path, columns, "train")


def partition_rows(
    rows: Sequence[Row], distribution: Distribution, validation_fraction: float
) -> tuple[Rows, Rows]:
    """Divide rows among clients.

    ``natural`` keeps all rows of one prompt (a meaning representation of E2E) on one client;
    ``length`` draws each client's proportions of short and long rows from a Dirichlet distribution;
    the other distributions also use ten classes of length as labels.

    Returns
    -------
    tuple of callable
        Map a client to its training rows and to its evaluation rows.
    """
    lengths = np.array([len(row.prompt) + len(row.completion) for row in rows])
    order = np.argsort(lengths, kind="stable")
    classes = torch.empty(len(rows), dtype=torch.int64)
    classes[torch.from_numpy(order)] = torch.arange(len(rows)) * LENGTHS // max(len(rows), 1)
    _, prompts = np.unique([row.prompt for row in rows], return_inverse=True)
    if distribution.name == BY_LENGTH:
        distribution = replace(distribution, name="noniid_dirichlet")
    known: dict[int, list[list[int]]] = {}

    def both(client: ClientIdentity) -> tuple[list[Row], list[Row]]:
        count, place = client.num_partitions, client.partition_id
        if count not in known:
            ids = torch.from_numpy(prompts.astype(np.int64))
            known[count] = partition_indices(classes, count, distribution, ids)
        seed = derive_seed(distribution.seed, "validation", place, count)
        own = [rows[k] for k in known[count][place]]
        return train_holdout_split(own, validation_fraction, seed)

    return (lambda client: both(client)[0]), (lambda client: both(client)[1])


def train_holdout_split(
    rows: Sequence[Row], fraction: float, seed: int
) -> tuple[list[Row], list[Row]]:
    """Return training and held-out rows, at least one each; fraction 0 holds out none.

    Raises
    ------
    DatasetError
        There are fewer than two rows to divide.
    """
    if not fraction:
        return list(rows), []
    if len(rows) < 2:
        raise DatasetError(
            f"{len(rows)} example(s): a client that evaluates needs one to train on and another"
        )
    kept_out = min(max(1, round(fraction * len(rows))), len(rows) - 1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [rows[k] for k in order[kept_out:]], [rows[k] for k in order[:kept_out]]
