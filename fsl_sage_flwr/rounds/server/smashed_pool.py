"""Smashed data that the server keeps, and batches drawn across clients."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...batching import batches_of
from ...messages import SmashedBatches
from ...seeding import derive_seed
from ...splitting.joining import concatenated
from ...splitting.layout import laid_out
from ...state import State
from ...task import SplitTask
from ...tensor_store import TensorFile

_LABELS = "labels"

PooledBatch = tuple[tuple[Tensor, ...], Tensor]
"""Smashed tensors, each ``(B, …)``, and labels ``(B, …)`` of one or several clients."""


class SmashedPool(State):
    """The smashed data of clients, in one file per client, beyond the round of their upload.

    Parameters
    ----------
    task : SplitTask
        Its seed determines the order of the samples.

    Attributes
    ----------
    clients : list of int
        Clients with smashed data in the pool, ascending.
    """

    def __init__(self, task: SplitTask) -> None:
        self._seed = task.seed
        self._files: dict[int, TensorFile] = {}
        self._samples: dict[int, int] = {}
        self._batch_size = 0

    def __contains__(self, client: int) -> bool:
        return client in self._files

    @property
    def clients(self) -> list[int]:
        """Clients with smashed data in the pool, ascending."""
        return sorted(self._files)

    def put(self, client: int, smashed: SmashedBatches) -> None:
        """Keep a client's smashed data in place of its earlier ones."""
        self._files[client] = self.files.write(named_tensors(smashed))
        self._samples[client] = len(smashed.labels)
        self._batch_size = max(self._batch_size, *smashed.batch_sizes)

    def batches(self, clients: Collection[int], round_: int, epoch: int = 0) -> list["PooledRows"]:
        """Return batches of the samples of these clients, shuffled across clients.

        Parameters
        ----------
        clients : collection of int
            Those without smashed data in the pool are skipped.
        round_ : int
            Number of the round.
        epoch : int
            Pass over the pool in the round: each pass has its own order.

        Returns
        -------
        list of PooledRows
            Each is read when it is iterated over. Their size is that of the largest uploaded
            batch; a single sample at the end joins the last batch.
        """
        kept = {client: self._files[client] for client in self.clients if client in clients}
        samples = {client: self._samples[client] for client in kept}
        seed = derive_seed(self._seed, "pool", round_, epoch)
        return batches_across(kept, samples, self._batch_size, seed)

    def state_dict(self) -> dict[str, Any]:
        """Return the files and the numbers of samples."""
        return {
            "files": dict(self._files),
            "samples": dict(self._samples),
            "batch_size": self._batch_size,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the pool."""
        self._files = {int(c): self.files.adopt(file) for c, file in state["files"].items()}
        self._samples = {int(c): int(count) for c, count in state["samples"].items()}
        self._batch_size = int(state["batch_size"])


class PooledRows:
    """One batch of samples of several clients, read when :meth:`load` is called.

    Parameters
    ----------
    sources : Mapping
        Smashed tensors and labels of each client, as :func:`named_tensors` names them.
    owners, rows : Tensor
        ``(B,)``, int64: client of each sample, and its place among the client's.
    """

    def __init__(
        self, sources: Mapping[int, Mapping[str, Tensor]], owners: Tensor, rows: Tensor
    ) -> None:
        self._sources, self._owners, self._rows = sources, owners, rows

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, layouts: Sequence[Tensor] = ()) -> PooledBatch:
        """Return the batch's smashed tensors and labels, clients ascending.

        ``layouts`` are examples with the memory layout of each smashed tensor; default row by row.
        """
        parts = list(self._parts())
        columns = [concatenated(column) for column in zip(*parts, strict=True)]
        tensors = columns[:-1]
        return tuple(map(laid_out, tensors, layouts) if layouts else tensors), columns[-1]

    def _parts(self) -> Iterator[list[Tensor]]:
        for client in sorted(set(self._owners.tolist())):
            rows = self._rows[self._owners == client]
            yield [tensor[rows] for tensor in self._sources[client].values()]


def named_tensors(smashed: SmashedBatches) -> dict[str, Tensor]:
    """Return smashed tensors by their places, and the labels last."""
    named = {str(place): tensor for place, tensor in enumerate(smashed.tensors)}
    return {**named, _LABELS: smashed.labels}


def batches_across(
    sources: Mapping[int, Mapping[str, Tensor]], samples: Mapping[int, int], size: int, seed: int
) -> list[PooledRows]:
    """Return batches of all samples, shuffled across clients.

    Parameters
    ----------
    sources : Mapping
        As in :class:`PooledRows`, by client.
    samples : Mapping
        Number of samples of each of these clients.
    size : int
        Samples of a batch; a single sample at the end joins the last batch.
    seed : int
        Determines the order.
    """
    if not samples:
        return []
    owners = torch.cat([torch.full((count,), client) for client, count in samples.items()])
    rows = torch.cat([torch.arange(count) for count in samples.values()])
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return [
        PooledRows(sources, owners[order[part]], rows[order[part]])
        for part in batches_of(len(rows), size)
    ]
