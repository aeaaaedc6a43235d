"""Models of tables and vectors: perceptrons, recommenders, flows, policies."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..entry import Entry
from .examples import case, rows


class TwoViews(nn.Module):
    """Two inputs with an encoder each."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(3, 4)
        self.joined, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Any:
        both = torch.cat([self.left(left), self.right(right)], dim=1)
        return self.out(torch.relu(self.joined(torch.relu(both))))


class Router(nn.Module):
    """A mixture that also returns its balance loss."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate = nn.Linear(4, 4), nn.Linear(4, 2)
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.a(x))
        gates = self.gate(x).softmax(dim=1)
        mixed = sum(gates[:, k, None] * expert(x) for k, expert in enumerate(self.experts))
        return {"logits": self.out(mixed), "balance": gates.mean(dim=0).pow(2).sum()}


class Autoregressive(nn.Module):
    """A masked linear layer, whose mask is a buffer."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 8), nn.Linear(8, 4)
        self.register_buffer("mask", torch.ones(8, 4).tril())

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(F.linear(x, self.first.weight * self.mask, self.first.bias))
        return self.out(hidden)


class Splines(nn.Module):
    """A layer of a Kolmogorov-Arnold network: a spline on each edge."""

    knots: Tensor

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.base = nn.Linear(inward, outward)
        self.weight = nn.Parameter(torch.randn(outward, inward, 5) / 10)
        self.register_buffer("knots", torch.linspace(-2, 2, 5))

    def forward(self, x: Tensor) -> Any:
        hats = torch.relu(1 - (x[..., None] - self.knots).abs())
        return self.base(F.silu(x)) + torch.einsum("bik,oik->bo", hats, self.weight)


class FeatureTokens(nn.Module):
    """A transformer of a table's columns, numbers and categories."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.zeros(4, 8))
        self.kinds = nn.ModuleList(nn.Embedding(size, 8) for size in (3, 5))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)
        )
        self.out = nn.Linear(8, 3)

    def forward(self, numbers: Tensor, categories: Tensor) -> Any:
        columns = numbers[..., None] * self.scale + self.shift
        kinds = [kind(categories[:, k]) for k, kind in enumerate(self.kinds)]
        token = self.token.expand(numbers.size(0), -1, -1)
        x = torch.cat([token, columns, torch.stack(kinds, dim=1)], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.out(x[:, 0])


class SequentialAttention(nn.Module):
    """A TabNet: each step chooses features, and leaves less for the next."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.shared = nn.BatchNorm1d(4), nn.Linear(4, 16)
        self.steps = nn.ModuleList(nn.Linear(8, 16) for _ in range(2))
        self.masks = nn.ModuleList(nn.Linear(8, 4) for _ in range(2))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(x)
        prior, hidden = torch.ones_like(x), F.glu(self.shared(x))
        total: Any = 0
        for step, choose in zip(self.steps, self.masks, strict=True):
            mask = (prior * choose(hidden)).softmax(dim=1)
            prior = prior * (1.3 - mask)
            hidden = F.glu(step(F.glu(self.shared(mask * x))))
            total = total + torch.relu(hidden)
        return self.out(total)


class DeepFactors(nn.Module):
    """A DeepFM: pairs of embeddings and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.factors, self.linear = nn.Embedding(20, 4), nn.Embedding(20, 1)
        self.deep, self.out = nn.Linear(12, 8), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Any:
        found = self.factors(x)
        pairs = 0.5 * (found.sum(dim=1).pow(2) - found.pow(2).sum(dim=1)).sum(dim=1, keepdim=True)
        deep = torch.relu(self.deep(found.flatten(1)))
        return self.out(torch.cat([self.linear(x).sum(dim=1), pairs, deep], dim=1))


class Recommender(nn.Module):
    """A DLRM: bags of ids with offsets, numbers, and products of all pairs."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        self.bottom, self.bag = nn.Linear(4, 8), nn.EmbeddingBag(20, 8, mode="sum", sparse=sparse)
        self.user, self.top, self.out = nn.Embedding(9, 8), nn.Linear(11, 8), nn.Linear(8, 3)

    def forward(self, numbers: Tensor, ids: Tensor, user: Tensor) -> Any:
        dense = torch.relu(self.bottom(numbers))
        parts = torch.stack([dense, self.bag(ids), self.user(user)], dim=1)
        rows, columns = torch.triu_indices(3, 3, 1)
        pairs = (parts @ parts.mT)[:, rows, columns]
        return self.out(torch.relu(self.top(torch.cat([dense, pairs], dim=1))))


class CrossNetwork(nn.Module):
    """A deep and cross network, whose cross layers read its first features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 8), nn.Linear(16, 3)
        self.cross = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.deep = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Any:
        first = x = self.first(x)
        for layer in self.cross:
            x = first * layer(x) + x
        return self.out(torch.cat([x, self.deep(first)], dim=1))


class TwoTowers(nn.Module):
    """Users against the batch's items: scores of all pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 8))
        self.item = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.heat = nn.Parameter(torch.zeros(()))

    def forward(self, user: Tensor, item: Tensor) -> Any:
        users = F.normalize(self.user(user), dim=1)
        items = F.normalize(self.item(item), dim=1)
        return (users * items).sum(dim=1, keepdim=True) * self.heat.exp() * torch.ones(3)


class Hypernetwork(nn.Module):
    """Weights of a layer that another network computes for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.context, self.weights = nn.Linear(4, 4), nn.Linear(4, 32)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        context = torch.tanh(self.context(x))
        weight = self.weights(context).view(-1, 8, 4)
        return self.out(torch.relu(torch.einsum("boi,bi->bo", weight, x)))


class HyperShared(nn.Module):
    """Weights of a layer from an embedding of the layer, called functionally."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(4, 8), nn.Parameter(torch.randn(6))
        self.hyper, self.out = nn.Linear(6, 72), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        found = self.hyper(self.layer)
        x = F.linear(torch.relu(self.first(x)), found[:64].view(8, 8), found[64:])
        return self.out(torch.relu(x))


class OdeBlock(nn.Module):
    """A vector field, integrated by Runge and Kutta's steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
        self.field = nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 8))

    def _slope(self, time: float, x: Tensor) -> Tensor:
        found: Tensor = self.field(torch.cat([x, torch.full_like(x[:, :1], time)], dim=1))
        return found

    def forward(self, x: Tensor) -> Any:
        x, step = self.first(x), 0.25
        for k in range(4):
            a = self._slope(k * step, x)
            b = self._slope((k + 0.5) * step, x + step / 2 * a)
            x = x + step * b
        return self.out(x)


class Equilibrium(nn.Module):
    """A fixed point, found without gradients, and one step with them."""

    def __init__(self) -> None:
        super().__init__()
        self.inject, self.layer, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.inject(x)
        point = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(20):
                nearer = torch.tanh(0.5 * self.layer(point) + x)
                if (nearer - point).abs().max() < 1e-3:
                    break
                point = nearer
        return self.out(torch.tanh(0.5 * self.layer(point) + x))


class Flow(nn.Module):
    """A RealNVP: couplings with a log determinant."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(3)
        )
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Any:
        x, volume = x * self.scale, self.scale.abs().log().sum().expand(len(x))
        for coupling in self.couplings:
            kept, changed = x.chunk(2, dim=1)
            scale, shift = coupling(kept).chunk(2, dim=1)
            volume = volume + torch.tanh(scale).sum(dim=1)
            x = torch.cat([changed * torch.tanh(scale).exp() + shift, kept], dim=1)
        return {"logits": x, "log_det": volume}


class Highway(nn.Module):
    """Gates between a layer and its input, and units of the largest of two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 16), nn.Linear(8, 3)
        self.layers = nn.ModuleList(nn.Linear(8, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        x = self.first(x).unflatten(1, (8, 2)).amax(dim=2)
        for layer in self.layers:
            value, gate = layer(x).chunk(2, dim=1)
            x = torch.sigmoid(gate) * torch.relu(value) + torch.sigmoid(-gate) * x
        return self.out(x)


class SoftTrees(nn.Module):
    """Oblivious decision trees with soft splits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.choose = nn.Linear(4, 8), nn.Parameter(torch.randn(6, 2, 8))
        self.limits, self.leaves = nn.Parameter(torch.zeros(6, 2)), nn.Parameter(torch.randn(6, 4))
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.first(x))
        found = torch.einsum("bi,tdi->btd", x, self.choose.softmax(dim=-1)) - self.limits
        right = torch.sigmoid(found)
        both = torch.stack([right, 1 - right], dim=-1)
        leaf = torch.einsum("bti,btj->btij", both[:, :, 0], both[:, :, 1]).flatten(2)
        return self.out((leaf * self.leaves).sum(dim=2))


class Mixture(nn.Module):
    """A mixture density network: a tuple of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.weights = nn.Linear(4, 8), nn.Linear(8, 3)
        self.means, self.spreads = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = torch.tanh(self.body(x))
        return self.weights(x).log_softmax(dim=1), self.means(x), F.softplus(self.spreads(x))


class Dueling(nn.Module):
    """Values and advantages, as in Q-learning."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.value, self.advantage = nn.Linear(4, 8), nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.body(x))
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=1, keepdim=True)


class ActorCritic(nn.Module):
    """A policy and a value, with a distribution in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.actor, self.critic = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        x = torch.tanh(self.body(x))
        policy = torch.distributions.Categorical(logits=self.actor(x))
        entropy = policy.entropy()  # type: ignore[no-untyped-call]
        return {"logits": policy.logits, "entropy": entropy, "value": self.critic(x)}


class Sine(nn.Module):
    """A SIREN over coordinates, with a learnt frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
        self.rate, self.out = nn.Parameter(torch.tensor(3.0)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        for layer in self.layers:
            x = torch.sin(self.rate * layer(x))
        return self.out(x)


class Prototypes(nn.Module):
    """Distances to learnt prototypes, behind a radial layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.centers = nn.Linear(4, 8), nn.Parameter(torch.randn(6, 8))
        self.mix, self.prototypes = nn.Linear(6, 8), nn.Parameter(torch.randn(3, 8))

    def forward(self, x: Tensor) -> Any:
        x = torch.exp(-torch.cdist(self.body(x), self.centers).pow(2))
        return -torch.cdist(self.mix(x), self.prototypes)


def _columns() -> tuple[Tensor, Tensor]:
    return rows(), torch.randint(3, (3, 2))


def _ids() -> Tensor:
    return torch.randint(20, (3, 3))


def _bags() -> tuple[Tensor, Tensor, Tensor]:
    return rows(), _ids(), torch.randint(9, (3,))


def entries() -> Iterator[Entry]:
    """Yield the models."""

    def perceptron() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
        )

    yield case("perceptron", perceptron, "1 2 4")
    yield case("two views", TwoViews, "right joined out", lambda: (rows(), torch.randn(3, 3)))
    yield case("mixture with a balance loss", Router, "gate experts.0 out")
    yield case("masked weights", Autoregressive, "out")
    kan = lambda: nn.Sequential(Splines(4, 6), Splines(6, 6), Splines(6, 3))  # noqa: E731
    yield case("Kolmogorov-Arnold network", kan, "1 1.base 2")
    yield case("feature tokens", FeatureTokens, "layers.0 layers.1 out", _columns)
    yield case("sequential attention", SequentialAttention, "shared masks.0 steps.1 out")
    yield case("deep factors", DeepFactors, "deep out", _ids)
    bags = "bag user top out"
    yield case("recommender with bags", lambda: Recommender(sparse=False), bags, _bags)
    yield case("cross network", CrossNetwork, "cross.1 deep.2 out")
    yield case("two towers", TwoTowers, "user.1 item.2", lambda: (_ids()[:, 0], rows()))
    yield case("hypernetwork", Hypernetwork, "weights out")
    yield case("layer from an embedding", HyperShared, "hyper out")
    yield case("differential equation", OdeBlock, "field field.2 out")
    yield case("fixed point", Equilibrium, "layer out")
    yield case("normalising flow", Flow, "couplings.1 couplings.2.2", axis=-1)
    yield case("highway of maxout units", Highway, "layers.0 layers.2 out")
    yield case("soft trees", SoftTrees, "out")
    yield case("mixture density", Mixture, "weights means spreads", scores=lambda output: output[0])
    yield case("dueling values", Dueling, "value advantage")
    yield case("actor and critic", ActorCritic, "actor critic")
    yield case("sine network", Sine, "layers.1 layers.2 out")
    yield case("prototypes", Prototypes, "mix")
