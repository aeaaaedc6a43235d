"""Auxiliary heads that the server aligns, one for each group of clients."""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...messages import PackedWeights, SmashedBatches
from ...schedules import set_rate
from ...seeding import derive_seed
from ...splitting import (
    AlignmentQuality,
    AlignmentRecipe,
    copy_sharing_frozen,
    flatten_state,
    restore_state,
)
from ...state import State
from ...task import SplitTask
from ...tensor_store import TensorFile, prefixed, with_prefix
from ..round import Round
from .aligning import AlignmentJob, align_heads
from .alignment_set import AlignmentSet

log = logging.getLogger("flwr.fsl_sage")

# Held-out cosine of estimated and true gradients below which shared heads were better in every
# setting that was measured: docs/results/shared-heads.md.
POOR_COSINE = 0.5

_HEAD, _OPTIMIZER, _LABELS = "head.", "optimizer.", "labels"
_HELD_OUT, _ROUNDS = "held-out", "rounds"


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


class AlignedHeads(State):
    """The clients' heads, their samples, and which node holds which head.

    Each client has a head, or clients share the heads of a few groups: client ``i`` has head
    ``i mod groups``, aligned on a sample of all its clients' uploads. Heads and samples are
    files: only those in use are in memory.

    Parameters
    ----------
    task : SplitTask
        Builds heads and their optimizers; its server half is what they are aligned with.
    align_interval : int
        l: rounds from one alignment to the next.
    align_dataset_size : int
        Newest samples of a client that its head is fitted on; beside them a tenth as many are
        kept of the samples that are never fitted, to measure on.
    recipe : AlignmentRecipe
        Passes, batch size and schedule of a fit.
    groups : int
        Heads that clients share; 0 gives each client a head.
    """

    def __init__(
        self,
        task: SplitTask,
        align_interval: int,
        align_dataset_size: int,
        recipe: AlignmentRecipe,
        groups: int = 0,
    ) -> None:
        self._task, self._interval = task, align_interval
        self._size, self._recipe, self._groups = align_dataset_size, recipe, groups
        self._heads: dict[int, AlignedHead] = {}
        self._samples: dict[int, TensorFile] = {}
        self._holders: dict[int, tuple[int, int]] = {}
        self._used: dict[int, int] = {}  # version by client, until its reply counts
        self._packed: dict[int, tuple[int, PackedWeights]] = {}
        self._like: nn.Module | None = None
        self._has_advised = False

    def __contains__(self, client: int) -> bool:
        """Tell whether a client has a head."""
        return self._group_of(client) in self._heads

    def create(self, client: int, weights: Mapping[str, Tensor] | None = None) -> None:
        """Create a client's head, unless its group has one.

        Parameters
        ----------
        client : int
            Partition id.
        weights : Mapping, optional
            Initial weights. By default the head copies the server half's first blocks, if
            the task asks for it and the head can.
        """
        task, group = self._task, self._group_of(client)
        if group in self._heads:
            return
        head = task.new_head(group)
        copy_from = getattr(head, "copy_from", None)
        if weights is not None:
            task.load_weights(head, weights)
        elif task.auxiliary_from_server and callable(copy_from):
            copy_from(task.model.server)
        self._heads[group] = AlignedHead(self._written(head))

    def add_samples(
        self, round_: Round, client: int, batches: SmashedBatches, others: Iterable[int]
    ) -> None:
        """Add a client's upload to its alignment set, which keeps the newest samples.

        ``others`` are the clients that upload in the same round: those of the client's group
        get equal shares of the group's samples, drawn at random.
        """
        group = self._group_of(client)
        sharing = sum(self._group_of(other) == group for other in others)
        count, held_out = len(batches.labels), batches.held_out
        if held_out is None:
            held_out = torch.zeros(count, dtype=torch.bool)
        rounds = torch.full((count,), round_.number)
        new = AlignmentSet(batches.tensors, batches.labels, held_out, rounds)
        if sharing > 1:
            seed = derive_seed(self._task.seed, "sample", round_.number, client)
            new = new.share(self._size, sharing, seed)
        if group in self._samples:
            new = _samples_in(self._samples[group]).appended(new, self._size)
        else:
            new = new.newest(self._size)
        named = {str(place): tensor for place, tensor in enumerate(new.tensors)}
        beside = {_LABELS: new.labels, _HELD_OUT: new.held_out, _ROUNDS: new.rounds}
        self._samples[group] = self.files.write({**named, **beside})

    def align(self, round_: Round, clients: list[int]) -> None:
        """Align the heads of clients that are due (algorithm 1, lines 17 to 21).

        A head is due when a round that ``align_interval`` divides has begun since its last fit.
        """
        latest = round_.number // self._interval * self._interval
        groups = sorted({self._group_of(client) for client in clients})
        due = [group for group in groups if self._heads[group].aligned_at < latest]
        if not due:
            return
        began = time.perf_counter()
        qualities = []
        for job, quality in align_heads(
            self._task, due, lambda group: self._job(group, round_), self._recipe, round_.number
        ):
            before = self._heads[job.group]
            if _is_finite(job.head, quality):
                head = self._written(job.head, job.optimizer)
                self._heads[job.group] = AlignedHead(head, round_.number, before.version + 1)
                if quality is not None:
                    qualities.append(quality)
            else:
                self._heads[job.group] = replace(before, aligned_at=round_.number)
                log.warning(
                    "round %d: the head of group %d has gradients that are not finite on the "
                    "samples it was aligned on; it stays as it was",
                    round_.number + 1, job.group,
                )  # fmt: skip
        summary = round_.summary
        summary.alignment_seconds = time.perf_counter() - began
        if not qualities:
            return
        pooled = AlignmentQuality.pooled(qualities)
        summary.alignment_cosine = pooled.cosine
        summary.alignment_relative_error = pooled.relative_error
        if pooled.cosine < POOR_COSINE and len(due) > 1 and not self._groups:
            self._advise_sharing(round_.number, pooled.cosine)

    def _advise_sharing(self, round_: int, cosine: float) -> None:
        """Advise shared heads, once a run and not before the heads were aligned twice."""
        if round_ < self._interval or self._has_advised:
            return
        self._has_advised = True
        log.warning(
            "round %d: the heads estimate gradients poorly (cosine %.2f on held-out samples); if "
            "clients have few samples, share one head: auxiliary.groups = 1",
            round_ + 1, cosine,
        )  # fmt: skip

    def version_of(self, client: int) -> int:
        """Return the version of the head that a client is to use."""
        return self._heads[self._group_of(client)].version

    def head_update_for(self, client: int, node: int) -> Mapping[str, Tensor] | None:
        """Return a client's head, unless its node holds it already."""
        group = self._group_of(client)
        head = self._heads[group]
        self._used[client] = head.version
        if self._holders.get(client) == (node, head.version):
            return None
        if not self._groups:
            return head.weights
        version, packed = self._packed.get(group, (-1, PackedWeights()))
        if version != head.version:
            packed = PackedWeights(head.weights, name=f"group {group}")
            self._packed[group] = head.version, packed
        return packed

    def confirm(self, nodes: Mapping[int, int]) -> None:
        """Record that clients' nodes hold the heads of this round."""
        for client in nodes.keys() & self._used.keys():
            self._holders[client] = nodes[client], self._used.pop(client)

    def forget(self, clients: Iterable[int]) -> None:
        """Send the head again: these clients' nodes may not have got it, or have lost it."""
        for client in clients:
            self._holders.pop(client, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the heads, their optimizers and the samples, as files."""
        heads = {
            group: {"file": head.file, "aligned_at": head.aligned_at, "version": head.version}
            for group, head in self._heads.items()
        }
        return {"heads": heads, "samples": dict(self._samples)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore heads and samples."""
        self._heads = {
            group: AlignedHead(
                self.files.adopt(saved["file"]), saved["aligned_at"], saved["version"]
            )
            for group, saved in state["heads"].items()
        }
        self._samples = {group: self.files.adopt(file) for group, file in state["samples"].items()}
        self._used, self._packed = {}, {}

    def _group_of(self, client: int) -> int:
        return client % self._groups if self._groups else client

    def _job(self, group: int, round_: Round) -> AlignmentJob:
        """Load a head as a module, with its optimizer and samples."""
        task = self._task
        if self._like is None:
            self._like = task.new_head("like")
        saved = self._heads[group].file.load()
        head = copy_sharing_frozen(self._like)
        task.load_weights(head, with_prefix(saved, _HEAD))
        optimizer = task.auxiliary_optimizer(list(head.parameters()))
        restore_state(optimizer, with_prefix(saved, _OPTIMIZER))
        set_rate(optimizer, task.auxiliary_schedule, round_.number)
        return AlignmentJob(group, head, optimizer, _samples_in(self._samples[group]))

    def _written(
        self, head: nn.Module, optimizer: torch.optim.Optimizer | None = None
    ) -> TensorFile:
        weights = prefixed(self._task.weights_of(head), _HEAD)
        state = {} if optimizer is None else prefixed(flatten_state(optimizer), _OPTIMIZER)
        return self.files.write({**weights, **state})


def _samples_in(file: TensorFile) -> AlignmentSet:
    tensors = file.load()
    labels = tensors.pop(_LABELS)
    # A checkpoint of an earlier version holds nothing out.
    held_out = tensors.pop(_HELD_OUT, torch.zeros(len(labels), dtype=torch.bool))
    rounds = tensors.pop(_ROUNDS, torch.zeros(len(labels), dtype=torch.int64))
    smashed = tuple(tensors[str(place)] for place in range(len(tensors)))
    return AlignmentSet(smashed, labels, held_out, rounds)


def _is_finite(head: nn.Module, quality: AlignmentQuality | None) -> bool:
    """Tell whether a fit left a head that clients can use."""
    measured = quality is None or (
        math.isfinite(quality.cosine) and math.isfinite(quality.relative_error)
    )
    return measured and all(bool(weight.isfinite().all()) for weight in head.parameters())
