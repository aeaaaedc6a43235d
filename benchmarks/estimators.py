"""Compare estimators of the server's gradient in one state of federated training.

    python -m benchmarks.estimators --dataset DIR [--rounds 5] [--seed 200] [--csv FILE]

``--make DIR --from CIFAR`` writes small images to DIR: the first 2,500 and 1,000 of CIFAR-10 (a
directory of parquet files), averaged to 16×16. Five clients share them.
ResNet-20, cut at layer2, is trained for some rounds on one client's batch after another's, and each
client keeps the smashed data of two batches of 50 a round, from before the round's steps, as
FSL-SAGE with q = 5 uploads them. Then each estimator is fitted to the true gradients and compared
with them on 100 other samples of each client at the newest weights: cosine, relative error, and the
estimates' length over the true one. Seconds are those of one thread.
"""

import argparse
import copy
import csv
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.batching import batches_of
from fsl_sage_flwr.models.catalogue import MODELS, ModelEntry
from fsl_sage_flwr.models.cifar_resnet import cifar_resnet
from fsl_sage_flwr.splitting import (
    AlignmentQuality,
    AlignmentRecipe,
    AuxiliaryHead,
    align,
    compare_gradients,
    estimated_gradients,
    true_gradients,
)
from fsl_sage_flwr.task import ClientIdentity, SplitTask

CLIENTS, BATCH, CLASSES = 5, 50, 10
Samples = tuple[Tensor, Tensor]
Estimate = Callable[[Tensor, Tensor], Tensor]


class Federation:
    """Clients that share one client half, and what they have uploaded."""

    def __init__(self, dataset: str, seed: int) -> None:
        values = {"dataset": dataset, "model": "resnet20", "batch-size": BATCH, "seed": seed}
        self.task: SplitTask = build_task(RunConfig.from_run_config({**values, "device": "cpu"}))
        self.seed, self.server = seed, self.task.model.server
        self._half, self._round = self.task.model.client, 0
        parts = (self._half, self.server)
        self._optimizers = [torch.optim.Adam(part.parameters(), lr=1e-3) for part in parts]
        self.uploads: list[list[Samples]] = []

    def smashed(self, client: int, batches: int, seed: int) -> Samples:
        """Return the smashed data of a client's first batches of an epoch."""
        found = []
        with torch.no_grad():
            epoch = iter(self.task.train_batches(ClientIdentity(client, CLIENTS), seed))
            for _ in range(batches):
                inputs, labels = self.task.on_device(next(epoch))
                found.append((self._half(inputs), labels))
        return torch.cat([z for z, _ in found]), torch.cat([y for _, y in found])

    def upload(self) -> None:
        """Keep the smashed data of two batches of each client."""
        self.uploads.append([self.smashed(c, 2, self._seed(c)) for c in range(CLIENTS)])

    def train(self) -> None:
        """Step both halves on all batches of the clients, one client's after another's."""
        epochs = [
            iter(self.task.train_batches(ClientIdentity(c, CLIENTS), self._seed(c)))
            for c in range(CLIENTS)
        ]
        for _ in range(500 // BATCH):
            for epoch in epochs:
                inputs, labels = self.task.on_device(next(epoch))
                scores = self.server(self._half(inputs))
                for optimizer in self._optimizers:
                    optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(scores, labels))
                for optimizer in self._optimizers:
                    optimizer.step()
        self._round += 1

    def newest(self, client: int, count: int) -> Samples:
        """Return a client's newest uploaded samples."""
        smashed, labels = zip(*(round_[client] for round_ in self.uploads), strict=True)
        return torch.cat(smashed)[-count:], torch.cat(labels)[-count:]

    def gradients(self, smashed: Tensor, labels: Tensor) -> Tensor:
        """Return the true gradients per sample."""
        server = copy.deepcopy(self.server)
        return true_gradients(server, (smashed,), labels, self.task.objective, 256)[0]

    def new_head(self) -> nn.Module:
        """Return a head that begins as a copy of the server half's first blocks."""
        head = self.task.new_head(0)
        if isinstance(head, AuxiliaryHead):
            head.copy_from(self.server)
        return head

    def held_out(self) -> list[Samples]:
        """Return samples of each client that are in no upload of the newest weights."""
        found = [self.smashed(c, 6, self._seed(c) + 1000) for c in range(CLIENTS)]
        return [(smashed[-100:], labels[-100:]) for smashed, labels in found]

    def generator(self) -> torch.Generator:
        """Return the generator of a fit."""
        return torch.Generator().manual_seed(self.seed)

    def _seed(self, client: int) -> int:
        return self.seed + 1000 * (self._round + 1) + client


Fit = Callable[[Federation, Tensor, Tensor], Estimate]


def by_head(
    federation: Federation, smashed: Tensor, labels: Tensor, *, epochs: int = 5, kind: str = ""
) -> Estimate:
    """Fit a head; ``kind`` is empty, "stop" or "direction"."""
    task, head = federation.task, federation.new_head()
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    ways: dict[str, Callable[..., None]] = {
        "": align_head, "stop": align_until_worse, "direction": align_direction,
    }  # fmt: skip
    ways[kind](federation, head, optimizer, smashed, labels, epochs)

    def estimate(z: Tensor, y: Tensor) -> Tensor:
        return estimated_gradients(copy.deepcopy(head), (z,), y, task.objective)[0]

    return estimate


def align_head(
    federation: Federation, head: nn.Module, optimizer: torch.optim.Optimizer,
    smashed: Tensor, labels: Tensor, epochs: int, schedule: str = "cosine",
) -> None:  # fmt: skip
    """Fit as the package does."""
    true, recipe = federation.gradients(smashed, labels), AlignmentRecipe(epochs, BATCH, schedule)
    align(
        head, optimizer, (smashed,), labels, (true,), federation.task.objective, recipe,
        federation.generator(),
    )  # fmt: skip


def align_until_worse(
    federation: Federation, head: nn.Module, optimizer: torch.optim.Optimizer,
    smashed: Tensor, labels: Tensor, epochs: int,
) -> None:  # fmt: skip
    """Stop when the cosine on a tenth of the samples has not risen for five passes."""
    order = torch.randperm(len(labels), generator=federation.generator())
    kept, rest = order[: len(order) // 10], order[len(order) // 10 :]
    true = federation.gradients(smashed[kept], labels[kept])
    best, state, since = -1.0, copy.deepcopy(head.state_dict()), 0
    for _ in range(30):
        align_head(federation, head, optimizer, smashed[rest], labels[rest], 1, "constant")
        found = estimated_gradients(
            copy.deepcopy(head), (smashed[kept],), labels[kept], federation.task.objective
        )
        cosine = compare_gradients(found, (true,)).cosine
        since += 1
        if cosine > best:
            best, state, since = cosine, copy.deepcopy(head.state_dict()), 0
        if since == 5:
            break
    head.load_state_dict(state)


def shuffled(count: int, generator: torch.Generator) -> list[Tensor]:
    """Return the places of a pass's batches."""
    order = torch.randperm(count, generator=generator)
    return [order[rows] for rows in batches_of(count, BATCH)]


def align_direction(
    federation: Federation, head: nn.Module, optimizer: torch.optim.Optimizer,
    smashed: Tensor, labels: Tensor, epochs: int,
) -> None:  # fmt: skip
    """Minimise 1 - cosine of each sample, and a tenth of the squared ratio of logarithms of length.

    Samples are weighted by the length of their true gradients.
    """
    true = federation.gradients(smashed, labels).flatten(1)
    lengths = true.norm(dim=1).clamp_min(1e-12)
    generator, rate = federation.generator(), optimizer.param_groups[0]["lr"]
    batches = [rows for _ in range(epochs) for rows in shuffled(len(labels), generator)]
    for step, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        (found,) = estimated_gradients(
            head, (smashed[rows],), labels[rows], federation.task.objective, create_graph=True
        )
        ours, weight = found.flatten(1), lengths[rows] / lengths.mean()
        length = ours.norm(dim=1).clamp_min(1e-12)
        cosine = (ours * true[rows]).sum(1) / (length * lengths[rows])
        apart = (length.log() - lengths[rows].log()) ** 2
        optimizer.zero_grad()
        torch.autograd.backward((weight * (1 - cosine + 0.1 * apart)).sum())
        optimizer.step()


def by_ridge(
    federation: Federation, smashed: Tensor, labels: Tensor, *, products: bool, own: bool
) -> Estimate:
    """Regress the gradient on the label and the predicted probabilities.

    Probabilities are those of a head trained on the labels, or (``own``) of the server half, which
    clients do not have.
    """
    task = federation.task
    head: nn.Module = copy.deepcopy(federation.server).eval() if own else federation.new_head()
    if not own:
        optimizer, generator = torch.optim.Adam(head.parameters(), lr=1e-3), federation.generator()
        for _ in range(5):
            for rows in shuffled(len(labels), generator):
                optimizer.zero_grad()
                total = task.objective.total_loss(head(smashed[rows]), labels[rows])
                torch.autograd.backward(total / len(rows))
                optimizer.step()

    def features(z: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            p = head(z).softmax(1)
        one_hot = nn.functional.one_hot(y, CLASSES).to(p)
        parts = [one_hot, p, torch.ones(len(y), 1)]
        if products:
            parts.append((one_hot[:, :, None] * p[:, None, :]).flatten(1))
        return torch.cat(parts, 1)

    found = features(smashed, labels)
    normal = found.T @ found + torch.eye(found.shape[1])
    weights: Tensor = torch.linalg.solve(
        normal, found.T @ federation.gradients(smashed, labels).flatten(1)
    )

    def estimate(z: Tensor, y: Tensor) -> Tensor:
        return (features(z, y) @ weights).view_as(z)

    return estimate


# Name, how it is fitted, newest samples of each client, and whether one serves all clients.
ESTIMATORS: dict[str, tuple[Fit, int, bool]] = {
    "a head each, newest 250 samples": (by_head, 250, False),
    "a head each, newest round (100)": (by_head, 100, False),
    "one head, 250 of the newest round": (by_head, 50, True),
    "one head, the newest round (500)": (by_head, 100, True),
    "one head, three rounds (1,500)": (by_head, 300, True),
    "one head, newest round, 20 passes": (partial(by_head, epochs=20), 100, True),
    "one head, newest round, stop by held-out cosine": (partial(by_head, kind="stop"), 100, True),
    "one head, newest round, direction and length": (partial(by_head, kind="direction"), 100, True),
    "ridge on label and probabilities": (partial(by_ridge, products=False, own=False), 100, True),
    "ridge, with their products": (partial(by_ridge, products=True, own=False), 100, True),
    "ridge, server's probabilities": (partial(by_ridge, products=True, own=True), 100, True),
}  # fmt: skip


def measured(federation: Federation, fit: Fit, count: int, shared: bool) -> dict[str, float]:
    """Fit an estimator; compare it with the true gradients of all clients' held-out samples."""
    began = time.process_time()
    samples = [federation.newest(client, count) for client in range(CLIENTS)]
    if shared:
        smashed, labels = zip(*samples, strict=True)
        estimates = [fit(federation, torch.cat(smashed), torch.cat(labels))] * CLIENTS
    else:
        estimates = [fit(federation, *one) for one in samples]
    seconds = time.process_time() - began
    found = AlignmentQuality.pooled(
        [
            compare_gradients((estimate(z, y),), (federation.gradients(z, y),))
            for estimate, (z, y) in zip(estimates, federation.held_out(), strict=True)
        ]
    )
    length = math.sqrt(found.estimated_square / found.true_square)
    return {
        "cosine": found.cosine, "relative_error": found.relative_error, "length": length,
        "seconds": seconds,
    }  # fmt: skip


def make(directory: Path, source: str) -> None:
    """Write the small images."""
    from datasets import load_dataset
    from PIL import Image

    for split, count in (("train", 2500), ("test", 1000)):
        part = load_dataset(source, split=split).select(range(count))
        key = part.column_names[0]
        small = part.map(
            lambda row, key=key: {key: row[key].resize((16, 16), Image.Resampling.BOX)}
        )
        (directory / "data").mkdir(parents=True, exist_ok=True)
        small.to_parquet(directory / "data" / f"{split}-00000-of-00001.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", help="directory of the small images")
    parser.add_argument("--make", type=Path, help="directory to make, from --from")
    parser.add_argument("--from", dest="source", help="directory of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=200)
    parser.add_argument("--csv", type=Path, help="file to which a row per estimator is added")
    options = parser.parse_args()
    if options.make:
        make(options.make, options.source)
        return
    torch.set_num_threads(1)
    entry = ModelEntry(partial(cifar_resnet, depth=20), cut="layer2", tail="fc")
    MODELS.register("resnet20", entry)
    federation = Federation(options.dataset, options.seed)
    for _ in range(options.rounds):
        federation.upload()
        federation.train()
    federation.upload()
    for name, (fit, count, shared) in ESTIMATORS.items():
        found = measured(federation, fit, count, shared)
        row = {"seed": options.seed, "estimator": name}
        row |= {key: f"{value:.3f}" for key, value in found.items()}
        print(row, flush=True)
        if options.csv:
            new = not options.csv.exists()
            with options.csv.open("a", newline="") as file:
                writer = csv.DictWriter(file, row.keys(), lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)


if __name__ == "__main__":
    main()
