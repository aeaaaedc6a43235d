"""Auxiliary heads that the server fits to its own gradients."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..messages import SmashedBatches
from ..schedules import set_rate
from ..splitting import AlignmentRecipe, copied, flatten_state, restore_state
from ..task import SplitTask
from ..tensor_files import TensorFile, with_prefix
from .aligning import AlignmentJob, align_heads
from .alignment_set import AlignmentSet
from .part import Part
from .round import Round

NOBODY = 0, -1
_HEAD, _OPTIMIZER, _LABELS = "head.", "optimizer.", "labels"


@dataclass(frozen=True)
class AlignedHead:
    """A head between two rounds.

    Attributes
    ----------
    file : TensorFile
        Weights ``x_{a,i}``, and the optimizer's state, which lasts from one alignment to the next.
    aligned_at : int
        Round in which the head was last aligned.
    version : int
        Counts alignments.
    """

    file: TensorFile
    aligned_at: int = -1
    version: int = 0

    @property
    def weights(self) -> dict[str, Tensor]:
        """The head's values, by name."""
        return with_prefix(self.file.load(), _HEAD)


class AlignedHeads(Part):
    """The clients' heads, their samples, and which node holds which head.

    Heads and samples are files: only those that are at work are in memory.

    Parameters
    ----------
    task : SplitTask
        Builds heads and their optimizers; its server half is what they are aligned with.
    align_interval : int
        l: rounds from one alignment to the next.
    align_dataset_size : int
        Newest samples of a client that its head is fitted on; a tenth more is kept to
        measure the fit on.
    recipe : AlignmentRecipe
        Passes, batch size and schedule of a fit.
    """

    def __init__(
        self, task: SplitTask, align_interval: int, align_dataset_size: int, recipe: AlignmentRecipe
    ) -> None:
        self._task, self._interval = task, align_interval
        self._size, self._recipe = align_dataset_size, recipe
        self._heads: dict[int, AlignedHead] = {}
        self._samples: dict[int, TensorFile] = {}
        self._holders: dict[int, tuple[int, int]] = {}
        self._like: nn.Module | None = None

    def __contains__(self, client: int) -> bool:
        """Tell whether a client has a head."""
        return client in self._heads

    def begin(self, client: int, weights: Mapping[str, Tensor] | None = None) -> None:
        """Make a client's head.

        Parameters
        ----------
        client : int
            Partition id.
        weights : Mapping, optional
            What the head begins with. By default it copies the server half's first blocks,
            where the task says so and the head can.
        """
        task = self._task
        head = task.new_head(client)
        copy_from = getattr(head, "copy_from", None)
        if weights is not None:
            task.load_weights(head, weights)
        elif task.auxiliary_from_server and callable(copy_from):
            copy_from(task.model.server)
        self._heads[client] = AlignedHead(self._written(head))

    def keep(self, client: int, batches: SmashedBatches) -> None:
        """Keep a client's newest samples."""
        if client in self._samples:
            samples = _samples_in(self._samples[client])
        else:
            samples = AlignmentSet(tuple(t[:0] for t in batches.tensors), batches.labels[:0])
        samples = samples.appended(batches.tensors, batches.labels, self._size)
        named = {str(place): tensor for place, tensor in enumerate(samples.tensors)}
        self._samples[client] = self.files.write({**named, _LABELS: samples.labels})

    def align(self, round_: Round, clients: list[int]) -> None:
        """Align the heads of those clients that are due (algorithm 1, lines 17 to 21).

        A head is due when a round that ``align_interval`` divides has begun since its last fit.
        """
        latest = round_.number // self._interval * self._interval
        due = [client for client in clients if self._heads[client].aligned_at < latest]
        if not due:
            return
        began = time.perf_counter()
        qualities = []
        for job, quality in align_heads(
            self._task, due, lambda client: self._job(client, round_), self._recipe, round_.number
        ):
            self._heads[job.client] = AlignedHead(
                self._written(job.head, job.optimizer),
                round_.number,
                self._heads[job.client].version + 1,
            )
            qualities.append(quality)
        summary = round_.summary
        summary.alignment_seconds = time.perf_counter() - began
        summary.alignment_cosine = sum(q.cosine for q in qualities) / len(qualities)
        summary.alignment_relative_error = sum(q.relative_error for q in qualities) / len(qualities)

    def version_of(self, client: int) -> int:
        """Return which head a client is to use."""
        return self._heads[client].version

    def news(self, client: int, node: int) -> Mapping[str, Tensor] | None:
        """Return a client's head, unless its node holds it already."""
        head = self._heads[client]
        if self._holders.get(client) == (node, head.version):
            return None
        return head.weights

    def note_holder(self, client: int, node: int) -> None:
        """Note that a client's node has used the head of now."""
        self._holders[client] = node, self._heads[client].version

    def forget(self, clients: Iterable[int]) -> None:
        """Send the head again: these clients may never have got it, or have lost it."""
        for client in clients:
            self._holders.pop(client, None)

    def snapshot(self) -> Any:
        """Return heads, samples and who has which: all are replaced, never changed."""
        return dict(self._heads), dict(self._samples), dict(self._holders)

    def restore(self, saved: Any) -> None:
        """Put back what there was."""
        heads, samples, holders = saved
        self._heads, self._samples, self._holders = dict(heads), dict(samples), dict(holders)

    def state_dict(self) -> dict[str, Any]:
        """Return the heads, their optimizers and the samples, as files."""
        heads = {
            client: {"file": head.file, "aligned_at": head.aligned_at, "version": head.version}
            for client, head in self._heads.items()
        }
        return {"heads": heads, "samples": dict(self._samples)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._heads = {
            client: AlignedHead(
                self.files.take(saved["file"]), saved["aligned_at"], saved["version"]
            )
            for client, saved in state["heads"].items()
        }
        self._samples = {client: self.files.take(file) for client, file in state["samples"].items()}
        self._holders = {}

    def _job(self, client: int, round_: Round) -> AlignmentJob:
        """Return a client's head as a module, with its optimizer and samples."""
        task = self._task
        if self._like is None:
            self._like = task.new_head("like")
        saved = self._heads[client].file.load()
        head = copied(self._like)
        task.load_weights(head, with_prefix(saved, _HEAD))
        optimizer = task.auxiliary_optimizer(head.parameters())
        restore_state(optimizer, with_prefix(saved, _OPTIMIZER))
        set_rate(optimizer, task.auxiliary_schedule, round_.number)
        return AlignmentJob(client, head, optimizer, _samples_in(self._samples[client]))

    def _written(
        self, head: nn.Module, optimizer: torch.optim.Optimizer | None = None
    ) -> TensorFile:
        weights = {f"{_HEAD}{name}": t for name, t in self._task.weights_of(head).items()}
        state = {} if optimizer is None else flatten_state(optimizer)
        return self.files.write({**weights, **{f"{_OPTIMIZER}{k}": t for k, t in state.items()}})


def _samples_in(file: TensorFile) -> AlignmentSet:
    tensors = file.load()
    labels = tensors.pop(_LABELS)
    return AlignmentSet(tuple(tensors[str(place)] for place in range(len(tensors))), labels)
