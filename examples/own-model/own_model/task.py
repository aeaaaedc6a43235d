"""What is trained: a model, where it is cut, and each client's batches."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from fsl_sage_flwr import ClientIdentity, SplitTask, split


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(30)
        self.front = nn.Sequential(nn.Linear(30, 32), nn.ReLU())
        self.back = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.back(self.front(self.scale(x)))


def data(test: bool):
    """569 real measurements of cell nuclei; every fifth is for testing."""
    x, y = load_breast_cancer(return_X_y=True)
    keep = torch.arange(len(y)) % 5 == 4
    rows = keep if test else ~keep
    return torch.tensor(x, dtype=torch.float32)[rows], torch.tensor(y)[rows]


def train_batches(client: ClientIdentity, seed: int):
    x, y = (part[client.partition_id :: client.num_partitions] for part in data(test=False))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return [(x[rows], y[rows]) for rows in order.split(16) if len(rows) > 1]


def build_task(context) -> SplitTask:
    torch.manual_seed(0)  # every node begins with the same weights
    example = torch.zeros(2, 30)
    model = split(Net(), at="back", example=example)
    return SplitTask(model, example, num_classes=2, train_batches=train_batches)
