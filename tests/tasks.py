"""Make a task small enough for unit tests, with all that makes parity hard."""

import copy
import os
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import torch
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.nodes.held_out import is_held_out
from fsl_sage_flwr.objective import classification
from fsl_sage_flwr.splitting import SplitModel, set_up_gpu
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

CLASSES = 3
CLIENTS = 3
BATCHES, FEW = 5, 3
SEED = 3
CLASSIFICATION = classification(CLASSES)
# Where the small task computes unless a test says otherwise; benchmarks/gpu.sh sets it to "cuda".
DEVICE = torch.device(os.environ.get("FSL_SAGE_TEST_DEVICE", "cpu"))
set_up_gpu(DEVICE, "fp32")


class SmallNet(nn.Module):
    """Convolution, BatchNorm (integer buffers) and dropout (random numbers) on both sides."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(dropout)
        self.block = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.last = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(6 * 16, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.drop(torch.relu(self.norm(self.stem(images))))
        return self.last(self.block(hidden))


def small_batches(client: ClientIdentity, seed: int, batches: int = BATCHES) -> Iterable[Batch]:
    """Every client has ``BATCHES`` batches but the last, which has two; the last batch is short."""
    generator = torch.Generator().manual_seed(seed)
    last = client.partition_id == client.num_partitions - 1
    count = 2 if last else batches
    for k in range(count):
        size = 3 if k == count - 1 else 6
        labels = torch.randint(CLASSES, (size,), generator=generator)
        noise = torch.randn(size, 1, 6, 6, generator=generator)
        yield noise + labels.view(-1, 1, 1, 1), labels


class NumberedList(list[Batch]):
    """Batches whose samples are numbered as they come."""

    def sample_numbers(self, k: int) -> Tensor:
        start = sum(len(labels) for _, labels in self[:k])
        return torch.arange(start, start + len(self[k][1]))


def numbered_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """Each client's batches, with the label of each sample that is held out 2 and no other's."""
    batches = NumberedList(small_batches(client, seed))
    for k, (_, labels) in enumerate(batches):
        numbers = batches.sample_numbers(k).tolist()
        chosen = [is_held_out(SEED, client.partition_id, n) for n in numbers]
        labels.clamp_(max=1)[torch.tensor(chosen)] = 2
    return batches


def few_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """Every client has ``FEW`` batches but the last: where it is not tested how many there are."""
    return small_batches(client, seed, FEW)


def two_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """Every client has two batches."""
    return small_batches(client, seed, 2)


def client_of(partition: int) -> ClientIdentity:
    return ClientIdentity(partition, CLIENTS)


def one_batch(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    """Every client has one batch but the last: where it is not tested what they train."""
    return small_batches(client, seed, 1)


class Front(nn.Module):
    """What ``split`` makes of SmallNet's client half, as a plain module."""

    def __init__(self, net: SmallNet) -> None:
        super().__init__()
        self.stem, self.norm, self.drop = net.stem, net.norm, net.drop

    def forward(self, images: Tensor) -> Tensor:
        return self.drop(torch.relu(self.norm(self.stem(images))))


class Back(nn.Module):
    """And of its server half."""

    def __init__(self, net: SmallNet) -> None:
        super().__init__()
        self.block, self.last = net.block, net.last

    def forward(self, smashed: Tensor) -> Tensor:
        return self.last(self.block(smashed))


def small_net(dropout: float = 0.2) -> tuple[SmallNet, Tensor]:
    """Return the whole model and an example; every call gives the same values."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        example = torch.randn(4, 1, 6, 6)
        return SmallNet(dropout), example


@lru_cache
def _small_model(dropout: float) -> tuple[SplitModel, Tensor]:
    """Write the halves out: torch compiles the ones that ``split`` returns at every copy."""
    net, example = small_net(dropout)
    return SplitModel(Front(net), Back(net), cut="block"), example


def small_task(*, dropout: float = 0.2, seed: int = SEED, **changes: object) -> SplitTask:
    """Build the task; every call gives the same initial values."""
    model, example = copy.deepcopy(_small_model(dropout))
    settings: dict[str, object] = {
        "model": model,
        "example": example,
        "num_classes": CLASSES,
        "train_batches": few_batches,
        "client_optimizer": partial(torch.optim.Adam, lr=1e-2),
        "server_optimizer": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
        "auxiliary_optimizer": partial(torch.optim.Adam, lr=1e-2),
        "device": DEVICE,
        "seed": seed,
    }
    return SplitTask(**{**settings, **changes})  # type: ignore[arg-type]


def small_app(
    mods: list[Any] | None = None, train_mods: list[Any] | None = None, **changes: object
) -> ClientApp:
    """Return a ClientApp on its own copy of the task."""
    return build_client_app(lambda context: small_task(**changes), mods, train_mods)
