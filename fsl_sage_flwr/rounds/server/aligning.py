"""Align several heads in parallel."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...batching import batches_of
from ...cpus import usable_cpus
from ...seeding import derive_seed
from ...splitting import (
    AlignmentQuality,
    AlignmentRecipe,
    align,
    compare_gradients,
    copy_sharing_frozen,
    estimated_gradients,
    plain_attention,
    true_gradients,
)
from ...task import SplitTask
from ..threads import threads_as_before
from .alignment_set import FEWEST, AlignmentSet


@dataclass(frozen=True)
class AlignmentJob:
    """One head, its optimizer and the samples of its group of clients."""

    group: int
    head: nn.Module
    optimizer: torch.optim.Optimizer
    samples: AlignmentSet


def align_heads(
    task: SplitTask,
    groups: Sequence[int],
    job_of: Callable[[int], AlignmentJob],
    recipe: AlignmentRecipe,
    round_: int,
) -> Iterator[tuple[AlignmentJob, AlignmentQuality | None]]:
    """Align heads with the task's server half; iterate over them with each one's quality.

    The quality is None where none of the last round's samples is held out. A head with fewer
    than two samples to fit does not change.

    ``job_of`` makes a group's head when it is fitted, so that few are in memory at once.

    On the CPU several heads are fitted at once, with a thread each: this is faster than many
    threads on one head, and gives the same bits on any number of cores. Where a head or the
    server half draws random numbers (dropout), and on a GPU, heads are fitted one by one.
    """
    first = job_of(groups[0])
    random = task.device.type != "cpu" or _draws_random_numbers(task, first)

    def run(group: int) -> tuple[AlignmentJob, AlignmentQuality | None]:
        job = first if group == first.group else job_of(group)
        seed = derive_seed(task.seed, "align", round_, group)
        if random:
            task.reseed("align", round_, group)
        return job, _align_one(task, job, recipe, torch.Generator().manual_seed(seed))

    side_by_side = task.device.type == "cpu" and not random
    workers = min(len(groups), usable_cpus()) if side_by_side else 1
    with (
        threads_as_before(),
        plain_attention(),
        torch.random.fork_rng(devices=[]),
        ThreadPoolExecutor(workers, "align", _one_thread) as pool,
    ):
        # At most one more for each worker is fitted ahead: the consumer may be slower.
        begun = deque(pool.submit(run, group) for group in groups[:workers])
        for group in groups[workers:]:
            done = begun.popleft().result()
            begun.append(pool.submit(run, group))
            yield done
        for rest in begun:
            yield rest.result()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _align_one(
    task: SplitTask, job: AlignmentJob, recipe: AlignmentRecipe, generator: torch.Generator
) -> AlignmentQuality | None:
    samples = job.samples
    smashed, labels = task.to_device(samples.tensors), samples.labels.to(task.device)
    # Work on a copy: computing gradients swaps the module's buffers for a while.
    gradients = true_gradients(
        copy_sharing_frozen(task.model.server), smashed, labels, task.objective, task.gradient_batch
    )
    fit = samples.to_fit().to(task.device)
    if len(fit) >= FEWEST:
        align(
            job.head,
            job.optimizer,
            _of(smashed, fit),
            labels[fit],
            _of(gradients, fit),
            task.objective,
            recipe,
            generator,
        )
    return _measured(task, job, smashed, labels, gradients)


def _measured(
    task: SplitTask,
    job: AlignmentJob,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    gradients: tuple[Tensor, ...],
) -> AlignmentQuality | None:
    """Compare estimates with true gradients on the held-out samples of the last round.

    Smashed data of earlier rounds come from other weights; clients use the head in later rounds.
    Batches contain samples that are not held out too, as they do on a client, for BatchNorm.
    """
    last, parts = job.samples.of_last_round(), []
    for rows in batches_of(len(last), task.gradient_batch):
        places = last[rows]
        held_out = job.samples.held_out[places].nonzero().flatten()
        if len(places) < FEWEST or not len(held_out):
            continue
        places, held_out = places.to(task.device), held_out.to(task.device)
        # On a copy: a forward pass in training mode moves the running statistics.
        estimate = estimated_gradients(
            copy_sharing_frozen(job.head), _of(smashed, places), labels[places], task.objective
        )
        true = _of(_of(gradients, places), held_out)
        parts.append(compare_gradients(_of(estimate, held_out), true))
    return AlignmentQuality.pooled(parts) if parts else None


def _of(tensors: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor[rows] for tensor in tensors)


def _draws_random_numbers(task: SplitTask, job: AlignmentJob) -> bool:
    """Tell whether a pass through the halves moves torch's global generator, the CPU's."""
    rows = task.to_device(tuple(tensor[:2] for tensor in job.samples.tensors))
    before = torch.get_rng_state()
    with torch.no_grad():
        copy_sharing_frozen(job.head)(*rows)
        copy_sharing_frozen(task.model.server)(*rows)
    moved = not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    return moved
