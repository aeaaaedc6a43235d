"""Make a task of each kind beside image classification."""

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fsl_sage_flwr.objective import multi_label, regression, segmentation
from fsl_sage_flwr.splitting import SplitModel, split
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask, adam


def generator_of(client: ClientIdentity, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + client.partition_id)


class Numbers(nn.Module):
    """Predicts one number of each sample: ``(B, 1)``."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.back(torch.relu(self.front(x)))))


def numbers_of(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = generator_of(client, seed)
    for _ in range(3):
        x = torch.randn(5, 4, generator=generator)
        yield x, x.sum(dim=1)


class Maps(nn.Module):
    """Gives every pixel a class: ``(B, 3, H, W)``."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.back(torch.relu(self.front(x)))))


def maps_of(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = generator_of(client, seed)
    for _ in range(3):
        maps = torch.randint(3, (4, 5, 5), generator=generator)
        known = maps.masked_fill(torch.rand(maps.shape, generator=generator) < 0.2, 255)
        yield maps[:, None].float() - 1, known.to(torch.uint8)


class TwoInputs(nn.Module):
    """Adds what it makes of two inputs, and returns a mapping, as some libraries' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)
        self.back, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.left(x) + self.right(y))
        return {"logits": self.last(torch.relu(self.back(hidden)))}


def pairs_of(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = generator_of(client, seed)
    for _ in range(3):
        labels = torch.randint(3, (5,), generator=generator)
        one_hot = nn.functional.one_hot(labels, 3).float()
        yield (torch.randn(5, 4, generator=generator), one_hot), labels.int()


class Tags(nn.Module):
    """Says of each sample which of three labels hold: ``(B, 3)``."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.back(torch.relu(self.front(x)))))


def tags_of(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = generator_of(client, seed)
    for _ in range(3):
        x = torch.randn(5, 4, generator=generator)
        yield x, (x[:, :3] > 0).float()


@cache
def _halves(make: Callable[[], nn.Module], tail: str, *shapes: tuple[int, ...]) -> SplitModel:
    """Cut a model before ``back``, and before a tail if it is given; to be copied."""
    with torch.random.fork_rng():
        torch.manual_seed(9)
        return split(make(), "back", tuple(map(torch.zeros, shapes)), tail=tail)


def _task(
    make: Callable[[], nn.Module], *shapes: tuple[int, ...], tail: str = "", **changes: Any
) -> SplitTask:
    example = tuple(map(torch.zeros, shapes))
    model = copy.deepcopy(_halves(make, tail, *shapes))
    return SplitTask(model, example if len(example) > 1 else example[0], **changes)


def numbers_task(**changes: Any) -> SplitTask:
    return _task(
        Numbers, (2, 4), num_classes=None, train_batches=numbers_of,
        validation_batches=lambda client: list(numbers_of(client, 77)), objective=regression(),
        **changes,
    )  # fmt: skip


def maps_task(**changes: Any) -> SplitTask:
    return _task(
        Maps, (2, 1, 5, 5), num_classes=None, train_batches=maps_of,
        validation_batches=lambda client: list(maps_of(client, 77)),
        objective=segmentation(3, (5, 5)),
        auxiliary=lambda: nn.Conv2d(4, 3, 1),
        **changes,
    )  # fmt: skip


def pairs_task(**changes: Any) -> SplitTask:
    return _task(
        TwoInputs, (2, 4), (2, 3), num_classes=3, train_batches=pairs_of,
        validation_batches=lambda client: list(pairs_of(client, 77)), **changes,
    )  # fmt: skip


def tags_task(**changes: Any) -> SplitTask:
    return _task(
        Tags, (2, 4), num_classes=None, train_batches=tags_of,
        validation_batches=lambda client: list(tags_of(client, 77)), objective=multi_label(3),
        **changes,
    )  # fmt: skip


def tokens_task() -> SplitTask:
    from .language import language_task, small_model

    return language_task(small_model(), client_optimizer=adam, server_optimizer=adam)


KINDS: dict[str, tuple[Callable[[], SplitTask], set[str]]] = {
    "numbers": (numbers_task, {"mean_absolute_error"}),
    "label maps": (maps_task, {"pixel_accuracy", "iou_0", "iou_1", "iou_2"}),
    "two inputs, a mapping out": (pairs_task, {"accuracy"}),
    "several labels": (tags_task, {"label_accuracy", "precision", "recall"}),
    "tokens": (tokens_task, {"token_accuracy"}),
}
# Kinds whose labels can stay on the clients, with the tail: the model's last layer.
WITH_TAIL = {
    "numbers": numbers_task,
    "label maps": maps_task,
    "two inputs, a mapping out": pairs_task,
    "several labels": tags_task,
}
