"""Compare alignment recipes by the quality of the estimate and the CPU time.

    python -m benchmarks.alignment --dataset DIR [--steps 300] [--seeds 3]

Trains ResNet-18 on CIFAR-10 (the directory DIR) for some steps, cuts it at layer3, and
aligns heads on 1,000 samples of smashed data with each recipe, on one thread. The cosine and
the relative error are measured on 1,000 other samples. ``later`` is an alignment 20 training
steps after the first, which starts from the head of the first.
"""

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fsl_sage_flwr.app.assembly import build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.splitting import (
    AlignmentQuality,
    AlignmentRecipe,
    AuxiliaryHead,
    align,
    as_tensors,
    compare_gradients,
    estimated_gradients,
    true_gradients,
)
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

SAMPLES = 1000
RECIPES = {
    "paper": ("random", AlignmentRecipe(epochs=100, batch_size=1000, schedule="constant")),
    "default": ("server", AlignmentRecipe(epochs=5, batch_size=50, schedule="cosine")),
}


class Training:
    """Train the uncut model, one batch after another."""

    def __init__(self, task: SplitTask, seed: int) -> None:
        self.task = task
        self.whole = nn.Sequential(task.model.client, task.model.server)
        self.optimizer = torch.optim.Adam(self.whole.parameters(), lr=1e-3, weight_decay=1e-4)
        self.batches = self._forever(seed)

    def _forever(self, seed: int) -> Iterator[Batch]:
        while True:
            yield from self.task.train_batches(ClientIdentity(0, 1), seed)
            seed += 1

    def steps(self, count: int) -> None:
        """Train for some steps."""
        for _ in range(count):
            inputs, labels = next(self.batches)
            self.optimizer.zero_grad()
            torch.autograd.backward(self.task.loss(self.whole(inputs), labels))
            self.optimizer.step()

    def smashed(self) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return smashed data of ``SAMPLES`` training images, as a client uploads them."""
        images, labels = zip(*(next(self.batches) for _ in range(4)), strict=True)
        with torch.no_grad():
            tensors = [as_tensors(self.task.model.client(batch)) for batch in images]
        joined = tuple(torch.cat(column)[:SAMPLES] for column in zip(*tensors, strict=True))
        return joined, torch.cat(labels)[:SAMPLES]


def gradients(task: SplitTask, smashed: tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, ...]:
    return true_gradients(task.model.server, smashed, labels, task.objective, 256)


def fit(
    task: SplitTask, head: nn.Module, recipe: AlignmentRecipe, optimizer: torch.optim.Optimizer,
    samples: tuple[tuple[Tensor, ...], Tensor], held_out: tuple[tuple[Tensor, ...], Tensor],
) -> tuple[AlignmentQuality, float]:  # fmt: skip
    """Align; return the quality on held-out samples, and the CPU seconds."""
    began = time.process_time()
    targets = gradients(task, *samples)
    align(
        head, optimizer, *samples, targets, task.objective, recipe, torch.Generator().manual_seed(0)
    )
    cpu = time.process_time() - began
    estimate = [
        estimated_gradients(head, tuple(t[i : i + 256] for t in held_out[0]),
                            held_out[1][i : i + 256], task.objective)
        for i in range(0, SAMPLES, 256)
    ]  # fmt: skip
    joined = tuple(torch.cat(column) for column in zip(*estimate, strict=True))
    return compare_gradients(joined, gradients(task, *held_out)), cpu


def accuracy(task: SplitTask, config: RunConfig) -> float:
    task.model.client.eval()
    task.model.server.eval()
    correct = count = 0
    with torch.no_grad():
        for inputs, labels in build_test_batches(config)():
            output = task.model.server(*as_tensors(task.model.client(inputs)))
            correct += int((output.argmax(1) == labels).sum())
            count += len(labels)
    task.model.client.train()
    task.model.server.train()
    return correct / count


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare alignment recipes.")
    parser.add_argument("--dataset", required=True, help="directory of CIFAR-10")
    parser.add_argument("--steps", type=int, default=300, help="steps before alignment")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(options.seeds):
        config = RunConfig.from_run_config(
            {"model": "resnet18", "dataset": options.dataset, "batch-size": 256, "seed": seed}
        )
        task = build_task(config)
        training = Training(task, seed)
        training.steps(options.steps)
        print(f"seed {seed}: test accuracy {accuracy(task, config):.1%} "
              f"after {options.steps} steps")  # fmt: skip
        heads = {}
        samples, held_out = training.smashed(), training.smashed()
        for name, (initial, recipe) in RECIPES.items():
            head = task.new_head(seed)
            if initial == "server" and isinstance(head, AuxiliaryHead):
                head.copy_from(task.model.server)
            heads[name] = head, torch.optim.Adam(head.parameters(), lr=1e-3)
            show(name, "first", *fit(task, head, recipe, heads[name][1], samples, held_out))
        training.steps(20)
        samples, held_out = training.smashed(), training.smashed()
        for name, (head, optimizer) in heads.items():
            show(name, "later", *fit(task, head, RECIPES[name][1], optimizer, samples, held_out))


def show(name: str, when: str, quality: AlignmentQuality, cpu: float) -> None:
    print(f"  {name:>8}, {when}: cosine {quality.cosine:.3f}, relative error "
          f"{quality.relative_error:.3f}, {cpu:.1f} CPU-s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
