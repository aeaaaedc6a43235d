"""quickstart-split-learning: the model, where it is cut, and the data."""

from functools import cache

import torch
from flwr.app import Context
from flwr_datasets import FederatedDataset
from flwr_datasets.partitioner import IidPartitioner
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import Compose, Normalize, ToTensor

from fsl_sage_flwr import ClientIdentity, SplitTask, split

TRANSFORM = Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])


class Net(nn.Module):
    """The simple CNN of PyTorch's "60 Minute Blitz"."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


@cache
def partitions(dataset: str, count: int) -> FederatedDataset:
    return FederatedDataset(dataset=dataset, partitioners={"train": IidPartitioner(count)})


@cache
def load(dataset: str, count: int, partition: int | None) -> tuple[Tensor, Tensor]:
    """Return images and labels of a client's partition; of the test split for None."""
    data = partitions(dataset, count)
    rows = data.load_split("test") if partition is None else data.load_partition(partition)
    return torch.stack([TRANSFORM(image) for image in rows["img"]]), torch.tensor(rows["label"])


def build_task(context: Context) -> SplitTask:
    """Return what server and clients train: each builds it, with the same initial weights."""
    config = context.run_config
    dataset, batch_size = str(config["dataset"]), int(config["batch-size"])

    def train_batches(client: ClientIdentity, seed: int) -> list[tuple[Tensor, Tensor]]:
        images, labels = load(dataset, client.num_partitions, client.partition_id)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        return [(images[rows], labels[rows]) for rows in order.split(batch_size)]

    torch.manual_seed(0)
    example = torch.zeros(2, 3, 32, 32)
    halves = split(Net(), at="conv2", example=example)  # clients train conv1, the server the rest
    return SplitTask(halves, example, num_classes=10, train_batches=train_batches)
