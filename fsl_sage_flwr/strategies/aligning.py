"""Align several heads, side by side."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..cpus import usable_cpus
from ..seeding import derive_seed
from ..splitting import (
    AlignmentQuality,
    AlignmentRecipe,
    align,
    compare_gradients,
    copied,
    estimated_gradients,
    plain_attention,
    true_gradients,
)
from ..task import SplitTask
from .alignment_set import AlignmentSet
from .threads import threads_as_before


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
) -> Iterator[tuple[AlignmentJob, AlignmentQuality]]:
    """Align heads with the task's server half; iterate over them with each one's quality.

    ``job_of`` makes a group's head when its turn comes, so that few are there at once.

    On the CPU each head has one thread and several heads are fitted at once, which is
    quicker than many threads on one head and gives the same bits on any number of cores.
    Where a head or the server half draws random numbers (dropout), and on a GPU, they
    are fitted one after the other.
    """
    first = job_of(groups[0])
    random = task.device.type != "cpu" or _draws_random_numbers(task, first)

    def run(group: int) -> tuple[AlignmentJob, AlignmentQuality]:
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
        # Not more than one each is begun ahead: whoever takes them may be slower.
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
) -> AlignmentQuality:
    fit, held_out = (
        AlignmentSet(task.to_device(part.tensors), part.labels.to(task.device))
        for part in job.samples.divided(generator)
    )
    # Work on a copy: computing gradients swaps the module's buffers for a while.
    server_half = copied(task.model.server)
    gradients = _true(server_half, fit, task)
    align(
        job.head, job.optimizer, fit.tensors, fit.labels, gradients,
        task.objective, recipe, generator,
    )  # fmt: skip
    # Measure on a copy: a forward pass in training mode moves the running statistics.
    head = copied(job.head)
    estimate = estimated_gradients(head, held_out.tensors, held_out.labels, task.objective)
    return compare_gradients(estimate, _true(server_half, held_out, task))


def _true(server_half: nn.Module, samples: AlignmentSet, task: SplitTask) -> tuple[Tensor, ...]:
    return true_gradients(
        server_half, samples.tensors, samples.labels, task.objective, task.gradient_batch
    )


def _draws_random_numbers(task: SplitTask, job: AlignmentJob) -> bool:
    """Tell whether a pass through the halves moves torch's global generator, the CPU's."""
    rows = task.to_device(tuple(tensor[:2] for tensor in job.samples.tensors))
    before = torch.get_rng_state()
    with torch.no_grad():
        copied(job.head)(*rows)
        copied(task.model.server)(*rows)
    moved = not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    return moved
