"""Auxiliary heads that the server fits to its own gradients, one for each client."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..messages import SmashedBatches
from ..schedules import set_rate
from ..splitting import AlignmentRecipe, copied_with
from ..task import SplitTask
from .aligning import AlignmentJob, align_heads
from .alignment_set import AlignmentSet
from .part import Part
from .round import Round


@dataclass
class AlignedHead:
    """What the server keeps for a client.

    Attributes
    ----------
    head : nn.Module
        Auxiliary head ``x_{a,i}``.
    optimizer : torch.optim.Optimizer
        Its optimizer, whose state lasts from one alignment to the next.
    samples : AlignmentSet
        The client's newest smashed data, ``D_i``.
    aligned_at : int
        Round in which the head was last aligned.
    version : int
        Counts alignments.
    holder : tuple of int
        The node that is known to hold the head, and the version that it holds.
    """

    head: nn.Module
    optimizer: torch.optim.Optimizer
    samples: AlignmentSet
    aligned_at: int = -1
    version: int = 0
    holder: tuple[int, int] = (0, -1)


class AlignedHeads(Part):
    """The clients' heads, their samples, and which node holds which head.

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
        self._of: dict[int, AlignedHead] = {}

    def __contains__(self, client: int) -> bool:
        """Tell whether a client has a head."""
        return client in self._of

    def begin(
        self, client: int, batches: SmashedBatches, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Make a client's head, and keep its first samples.

        Parameters
        ----------
        client : int
            Partition id.
        batches : SmashedBatches
            What it sent.
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
        nothing = AlignmentSet(tuple(t[:0] for t in batches.tensors), batches.labels[:0])
        self._of[client] = AlignedHead(
            head=head,
            optimizer=task.auxiliary_optimizer(head.parameters()),
            samples=nothing.appended(batches.tensors, batches.labels, self._size),
        )

    def keep(self, client: int, batches: SmashedBatches) -> None:
        """Keep a client's newest samples."""
        of = self._of[client]
        of.samples = of.samples.appended(batches.tensors, batches.labels, self._size)

    def align(self, round_: Round, clients: list[int]) -> None:
        """Align the heads of those clients that are due (algorithm 1, lines 17 to 21).

        A head is due when a round that ``align_interval`` divides has begun since its last fit.
        """
        latest = round_.number // self._interval * self._interval
        due = [client for client in clients if self._of[client].aligned_at < latest]
        if not due:
            return
        began = time.perf_counter()
        for client in due:
            of = self._of[client]
            # Copies are aligned, so that an undone round can go back to the old heads.
            of.head, of.optimizer = copied_with(of.head, of.optimizer)
            set_rate(of.optimizer, self._task.auxiliary_schedule, round_.number)
        jobs = [
            AlignmentJob(client, of.head, of.optimizer, of.samples)
            for client, of in ((client, self._of[client]) for client in due)
        ]
        qualities = align_heads(self._task, jobs, self._recipe, round_.number)
        for client in due:
            of = self._of[client]
            of.aligned_at, of.version = round_.number, of.version + 1
        summary = round_.summary
        summary.alignment_seconds = time.perf_counter() - began
        summary.alignment_cosine = sum(q.cosine for q in qualities) / len(qualities)
        summary.alignment_relative_error = sum(q.relative_error for q in qualities) / len(qualities)

    def version_of(self, client: int) -> int:
        """Return which head a client is to use."""
        return self._of[client].version

    def news(self, client: int, node: int) -> Mapping[str, Tensor] | None:
        """Return a client's head, unless its node holds it already."""
        of = self._of[client]
        if of.holder == (node, of.version):
            return None
        return self._task.weights_of(of.head)

    def note_holder(self, client: int, node: int) -> None:
        """Note that a client's node has used the head of now."""
        self._of[client].holder = node, self._of[client].version

    def forget(self, clients: Iterable[int]) -> None:
        """Send the head again: these clients may never have got it, or have lost it."""
        for client in clients:
            if client in self._of:
                self._of[client].holder = 0, -1

    def snapshot(self) -> Any:
        """Return who has which head; heads and samples are replaced, never changed."""
        return {client: replace(of) for client, of in self._of.items()}

    def restore(self, saved: Any) -> None:
        """Put back what there was."""
        self._of = {client: replace(of) for client, of in saved.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the heads, their optimizers and the samples."""
        clients = {
            client: {
                "head": dict(self._task.weights_of(of.head)),
                "optimizer": of.optimizer.state_dict(),
                "tensors": list(of.samples.tensors),
                "labels": of.samples.labels,
                "aligned_at": of.aligned_at,
                "version": of.version,
            }
            for client, of in self._of.items()
        }
        return {"clients": clients}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._of = {}
        for client, saved in state["clients"].items():
            head = self._task.new_head(client)
            self._task.load_weights(head, saved["head"])
            optimizer = self._task.auxiliary_optimizer(head.parameters())
            optimizer.load_state_dict(saved["optimizer"])
            self._of[client] = AlignedHead(
                head=head,
                optimizer=optimizer,
                samples=AlignmentSet(tuple(saved["tensors"]), saved["labels"]),
                aligned_at=saved["aligned_at"],
                version=saved["version"],
            )
