"""Compare heads fitted one after the other and as one batch (``torch.func.vmap``).

    OMP_NUM_THREADS=1 python -m benchmarks.batched_heads [--model simple_conv] [--heads 10 50]

The default recipe (5 passes over 500 samples in batches of 50) on random smashed data: seconds
per head of both (CPU time, on a GPU wall time), and the largest difference of weights. It computes
on a GPU if there is one, as a run does.
"""

import argparse
import copy
import time

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.splitting import AlignmentRecipe, align
from fsl_sage_flwr.task import SplitTask

SAMPLES = 500
RECIPE = AlignmentRecipe(epochs=5, batch_size=50, schedule="constant")


def clock(device: torch.device) -> float:
    """Return this process's CPU-seconds; on a GPU the time after all queued work."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def one_after_the_other(
    task: SplitTask, heads: list[nn.Module], smashed: Tensor, labels: Tensor, targets: Tensor
) -> float:
    """Fit heads in place as the package does; return seconds."""
    began = clock(smashed.device)
    for i, head in enumerate(heads):
        generator = torch.Generator().manual_seed(1)
        optimizer = task.auxiliary_optimizer(list(head.parameters()))
        align(
            head, optimizer, (smashed[i],), labels[i], (targets[i],),
            task.objective, RECIPE, generator,
        )  # fmt: skip
    return clock(smashed.device) - began


def as_one_batch(
    task: SplitTask, heads: list[nn.Module], smashed: Tensor, labels: Tensor, targets: Tensor
) -> tuple[float, dict[str, Tensor]]:
    """Fit copies of heads in step; return seconds and the stacked weights."""
    parameters, buffers = stack_module_state(heads)
    parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    like = copy.deepcopy(heads[0]).to("meta")

    def loss(z: Tensor, weights: dict[str, Tensor], state: dict[str, Tensor], y: Tensor) -> Tensor:
        scores = functional_call(like, (weights, state), (z,))
        return nn.functional.cross_entropy(scores, y, reduction="sum")

    estimate = vmap(grad(loss, argnums=0))
    optimizer = task.auxiliary_optimizer(list(parameters.values()))
    generator = torch.Generator().manual_seed(1)
    began = clock(smashed.device)
    for _ in range(RECIPE.epochs):
        order = torch.randperm(SAMPLES, generator=generator)
        for rows in torch.split(order, RECIPE.batch_size):
            found = estimate(smashed[:, rows], parameters, buffers, labels[:, rows])
            distance = (found - targets[:, rows]).pow(2).sum()
            optimizer.zero_grad()
            torch.autograd.backward(distance)
            optimizer.step()
    return clock(smashed.device) - began, parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="simple_conv")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--heads", type=int, nargs="+", default=[10, 50])
    given = parser.parse_args()
    task = build_task(RunConfig(model=given.model, dataset=given.dataset))
    shape = task.smashed_example()[0].shape[1:]
    for count in given.heads:
        heads = [task.new_head(i) for i in range(count)]
        smashed = torch.randn(count, SAMPLES, *shape).to(task.device)
        labels = torch.randint(0, 10, (count, SAMPLES)).to(task.device)
        targets = torch.randn_like(smashed) / 100
        batched, weights = as_one_batch(task, heads, smashed, labels, targets)
        single = one_after_the_other(task, heads, smashed, labels, targets)
        apart = max(
            float((weights[name][i] - p).detach().abs().max())
            for i, head in enumerate(heads)
            for name, p in head.named_parameters()
        )
        print(
            f"{given.model}, {count} heads, {task.device}: {single / count:.3f} s a head one after "
            f"the other, {batched / count:.3f} as one batch ({batched / single:.2f}); weights "
            f"differ by at most {apart:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
