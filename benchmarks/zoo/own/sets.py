"""Models of sets and graphs, with PyTorch alone."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..entry import Entry
from .examples import case, points


class DeepSets(nn.Module):
    """A sum over the points of a set."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8))
        self.outer = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Any:
        return self.outer(self.inner(x).sum(dim=1))


class PointNet(nn.Module):
    """Points, turned by a matrix that the network computes."""

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.matrix = nn.Conv1d(3, 8, 1), nn.Linear(8, 9)
        self.first, self.norm = nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8)
        self.second, self.out = nn.Conv1d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = x.transpose(2, 1)
        matrix = self.matrix(torch.relu(self.turn(x)).amax(dim=2)).view(-1, 3, 3) + torch.eye(3)
        x = torch.bmm(x.transpose(2, 1), matrix).transpose(2, 1)
        x = self.second(torch.relu(self.norm(self.first(x))))
        return self.out(torch.max(x, 2, keepdim=True)[0].view(-1, 8))


class DynamicGraph(nn.Module):
    """A DGCNN: edges to the nearest neighbours among the features."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.ModuleList([nn.Linear(6, 8), nn.Linear(16, 8)])
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        for edge in self.edges:
            near = torch.cdist(x, x).topk(3, dim=2, largest=False).indices
            rows = torch.arange(x.shape[0])[:, None, None]
            others = x[rows, near]
            mine = x[:, :, None].expand_as(others)
            x = torch.relu(edge(torch.cat([mine, others - mine], dim=3))).amax(dim=2)
        return self.out(x.amax(dim=1))


class SetTransformer(nn.Module):
    """Attention through inducing points, and pooling by a seed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.points = nn.Linear(3, 8), nn.Parameter(torch.randn(1, 4, 8))
        self.gather, self.spread, self.pool = (
            nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(3)
        )
        self.seed, self.out = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        points = self.points.repeat(x.size(0), 1, 1)
        held, _ = self.gather(points, x, x, need_weights=False)
        x = x + self.spread(x, held, held, need_weights=False)[0]
        pooled, weights = self.pool(self.seed.repeat(x.size(0), 1, 1), x, x)
        return self.out(pooled.squeeze(1)), weights


class Instances(nn.Module):
    """Gated attention over a bag's instances, with a mask of the true ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.value, self.gate = nn.Linear(3, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.weight, self.out = nn.Linear(4, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor, present: Tensor) -> Any:
        x = torch.relu(self.body(x))
        weight = self.weight(torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x)))
        weight = weight.masked_fill(~present[..., None], float("-inf")).softmax(dim=1)
        return self.out((weight * x).sum(dim=1))


class PlainGcn(nn.Module):
    """A normalised adjacency matrix and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        matrix = adjacency + torch.eye(adjacency.shape[-1])
        scale = matrix.sum(dim=-1).rsqrt()
        matrix = scale[..., None] * matrix * scale[..., None, :]
        for layer in self.layers:
            x = torch.relu(layer(matrix @ x))
        return self.out(x)


class PlainGat(nn.Module):
    """Attention of nodes along the edges of an adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 8)])
        self.scores = nn.ParameterList([torch.randn(16), torch.randn(16)])
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        for change, score in zip(self.maps, self.scores, strict=True):
            x = change(x)
            logits = (x @ score[:8])[..., None] + (x @ score[8:])[..., None, :]
            logits = F.leaky_relu(logits, 0.2).masked_fill(adjacency == 0, -1e9)
            x = F.elu(logits.softmax(dim=-1) @ x)
        return self.out(x.mean(dim=1))


class MessagePassing(nn.Module):
    """Messages along one edge list for the whole batch, by index_add."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.messages = nn.ModuleList(nn.Linear(16, 8) for _ in range(2))
        self.updates = nn.ModuleList(nn.GRUCell(8, 8) for _ in range(2))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Any:
        x = self.first(x)
        start, end = edges[:, 0], edges[:, 1]
        for message, update in zip(self.messages, self.updates, strict=True):
            sent = torch.relu(message(torch.cat([x.index_select(1, start), x[:, end]], dim=-1)))
            found = torch.zeros_like(x).index_add(1, end, sent)
            x = update(found.flatten(0, 1), x.flatten(0, 1)).view_as(x)
        return self.out(x.mean(dim=1))


class Relations(nn.Module):
    """A function of each pair of objects, summed."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = nn.Linear(3, 8)
        self.pairs = nn.Sequential(nn.Linear(16, 8), nn.ReLU())
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.objects(x)
        n = x.shape[1]
        one = x.unsqueeze(1).repeat(1, n, 1, 1)
        other = x.unsqueeze(2).repeat(1, 1, n, 1)
        return self.out(self.pairs(torch.cat([one, other], dim=-1)).sum(dim=(1, 2)))


class Slots(nn.Module):
    """Slots that begin with random values and compete for the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mean = nn.Linear(3, 8), nn.Parameter(torch.zeros(8))
        self.keys, self.values, self.queries = (nn.Linear(8, 8) for _ in range(3))
        self.update, self.out = nn.GRUCell(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        slots = self.mean + torch.randn(x.shape[0], 3, 8)
        keys, values = self.keys(x), self.values(x)
        for _ in range(2):
            weights = (keys @ self.queries(slots).mT).softmax(dim=-1) + 1e-6
            found = (weights / weights.sum(dim=1, keepdim=True)).mT @ values
            slots = self.update(found.reshape(-1, 8), slots.reshape(-1, 8)).view_as(slots)
        return self.out(slots.mean(dim=1))


class Pointer(nn.Module):
    """A pointer network: at each step the scores of the inputs not yet chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.LSTM(3, 8, batch_first=True), nn.LSTMCell(8, 8)
        self.keys, self.query = nn.Linear(8, 8), nn.Linear(8, 8)
        self.score = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        states, (hidden, memory) = self.encoder(x)
        given, found = states.mean(dim=1), []
        state = hidden[0], memory[0]
        chosen = torch.zeros(x.shape[:2], dtype=torch.bool)
        keys = self.keys(states)
        for _ in range(3):
            state = self.cell(given, state)
            scores = self.score(torch.tanh(keys + self.query(state[0])[:, None])).squeeze(2)
            scores = scores.masked_fill(chosen, -1e9)
            best = scores.argmax(dim=1)
            chosen = chosen.scatter(1, best[:, None], True)
            given = states[torch.arange(len(x)), best]
            found.append(scores)
        return torch.stack(found, dim=1)


def _bag() -> tuple[Tensor, Tensor]:
    return points(), torch.arange(6) < torch.tensor([[4], [6], [5]])


def _graph() -> tuple[Tensor, Tensor]:
    edges = (torch.rand(3, 6, 6) < 0.4).float()
    return points(), torch.maximum(edges, edges.mT)


def _edges() -> tuple[Tensor, Tensor]:
    """Return nodes, and one edge list for the whole batch."""
    start = torch.arange(6)
    return points(), torch.stack([start, (start + 1) % 6], dim=1)


def entries() -> Iterator[Entry]:
    """Yield the models."""
    yield case("deep sets", DeepSets, "inner.2 outer outer.2", points)
    yield case("points turned by a network", PointNet, "matrix norm second out", points)
    yield case("dynamic graph", DynamicGraph, "edges.1 out", points)
    yield case("set transformer", SetTransformer, "gather pool out", points, scores=lambda o: o[0])
    bag = "value weight out"
    yield case("bag of instances", Instances, bag, _bag, ("present",))
    graph = ("adjacency",)
    yield case("graph convolutions", PlainGcn, "layers.1 layers.2 out", _graph, graph, axis=-1)
    yield case("graph attention", PlainGat, "maps.1 out", _graph, graph)
    yield case("message passing", MessagePassing, "messages.0 updates.1 out", _edges, ("edges",))
    yield case("relations of pairs", Relations, "pairs pairs.0 out", points)
    yield case("slots", Slots, "keys update out", points)
    yield case("pointer network", Pointer, "keys cell", points, axis=-1)
