"""Graph networks of PyTorch Geometric on batches of graphs of one size."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import dense

from .entry import Entry


class Graphs(nn.Module):
    """Three layers of one kind, and a classification of the graph or of its nodes."""

    def __init__(self, layer: Any, *, pooled: bool) -> None:
        super().__init__()
        self.first, self.second, self.third = layer(4), layer(8), layer(8)
        self.out, self.pooled = nn.Linear(8, 3), pooled

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        """Return scores of each graph or node."""
        for layer in (self.first, self.second, self.third):
            x = torch.relu(layer(x, adjacency))
        return self.out(x.mean(dim=1) if self.pooled else x)


def _gin(width: int) -> nn.Module:
    layer: nn.Module = dense.DenseGINConv(nn.Linear(width, 8))
    return layer


LAYERS: dict[str, Any] = {
    "GCN": lambda width: dense.DenseGCNConv(width, 8),
    "SAGE": lambda width: dense.DenseSAGEConv(width, 8),
    "GAT": lambda width: dense.DenseGATConv(width, 8),
    "GraphConv": lambda width: dense.DenseGraphConv(width, 8),
    "GIN": _gin,
}


def graphs() -> tuple[Tensor, Tensor]:
    edges = (torch.rand(3, 6, 6) < 0.4).float()
    return torch.randn(3, 6, 4), torch.maximum(edges, edges.transpose(1, 2))


def entries() -> Iterator[Entry]:
    """Yield the models."""
    for name, layer in LAYERS.items():
        for pooled in (True, False):
            yield Entry(
                "torch_geometric",
                f"{name}, of {'graphs' if pooled else 'nodes'}",
                partial(Graphs, layer, pooled=pooled),
                graphs,
                ("second", "third", "out"),
                ("adjacency",),
                class_axis=-1,
            )
