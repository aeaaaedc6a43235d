"""Masks, public inputs and several heads behind both cuts: with a tail SplitFed is a plain loop."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.compression import PRESETS
from fsl_sage_flwr.objective import Objective, classification, scores_of
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import as_tensors, split
from fsl_sage_flwr.strategies import SplitFedV1, SplitFedV2
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ..memory_grid import MemoryGrid
from ..rows import rows
from ..runs import assert_same

WORDS, LENGTH, WIDTH = 13, 6, 8
SGD = partial(torch.optim.SGD, lr=0.1)


class Reader(nn.Module):
    """Every layer reads the padding, which is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
            for _ in range(3)
        )
        self.last = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor, padding: Tensor) -> Tensor:
        hidden = self.words(ids)
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
        kept = (~padding)[..., None].float()
        return self.last((hidden * kept).sum(dim=1) / kept.sum(dim=1))


class OwnPadding(Reader):
    """Makes the padding from the words, in the client half."""

    def forward(self, ids: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(ids, ids == 0)


class Scaled(nn.Module):
    """A public number of each sample is used behind the tail."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        hidden = torch.relu(self.back(torch.relu(self.front(x))))
        return self.last(hidden * scale[:, None]) / (1 + scale[:, None])


class Heads(nn.Module):
    """Two heads, of which the first begins the tail."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = nn.Linear(4, 6), nn.Linear(6, 6)
        self.age, self.kind = nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.back(torch.relu(self.front(x))))
        return {"age": self.age(hidden), "kind": self.kind(hidden)}


def both(output: Any, labels: Tensor) -> Tensor:
    kind = F.cross_entropy(output["kind"], labels[:, 1].long())
    return F.mse_loss(output["age"][:, 0], labels[:, 0]) + kind


def cross_entropy(output: Any, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores_of(output), labels)


AGE_AND_KIND = Objective(
    both, lambda output, labels: {}, (), lambda labels: None, lambda count: torch.zeros(count, 2)
)


def generators(client: ClientIdentity, seed: int) -> Iterator[torch.Generator]:
    generator = torch.Generator().manual_seed(seed + client.partition_id)
    return (generator for _ in range(3))


def texts(client: ClientIdentity, seed: int, *, public: bool = True) -> Iterable[Any]:
    for generator in generators(client, seed):
        ids = torch.randint(1, WORDS, (5, LENGTH), generator=generator)
        lengths = torch.randint(2, LENGTH, (5,), generator=generator)
        padding = torch.arange(LENGTH) >= lengths[:, None]
        ids = ids.masked_fill(padding, 0)
        yield ({"ids": ids, "padding": padding} if public else ids), ids[:, 0] % 3


def numbers(client: ClientIdentity, seed: int, *, scaled: bool) -> Iterable[Any]:
    for generator in generators(client, seed):
        x = torch.randn(5, 4, generator=generator)
        kinds = x[:, :3].argmax(dim=1)
        if scaled:
            yield (x, torch.rand(5, generator=generator)), kinds
        else:
            yield x, torch.stack([x[:, 3], kinds.float()], dim=1)


class Case(NamedTuple):
    model: type[nn.Module]
    at: str
    tail: str
    batches: Any
    public: tuple[str, ...] = ()
    objective: Objective = classification(3)
    loss: Any = cross_entropy
    crossing: int = 2  # tensors that the tail gets


CASES = {
    "public padding": Case(Reader, "layers.1", "layers.2", texts, ("padding",)),
    "public padding, used by the server half alone": Case(
        Reader, "layers.1", "last", texts, ("padding",), crossing=1
    ),
    "padding made by the client half": Case(
        OwnPadding, "layers.1", "layers.2", partial(texts, public=False)
    ),
    "a public number": Case(Scaled, "back", "last", partial(numbers, scaled=True), ("scale",)),
    "several heads": Case(
        Heads, "back", "age", partial(numbers, scaled=False), objective=AGE_AND_KIND, loss=both,
        crossing=1,
    ),
}  # fmt: skip


def fresh(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.model()


def task_of(case: Case) -> SplitTask:
    example = next(iter(case.batches(ClientIdentity(0, 1), 1)))[0]
    return SplitTask(
        split(fresh(case), case.at, example, tail=case.tail, public=case.public),
        example, num_classes=None, train_batches=case.batches, objective=case.objective,
        validation_batches=lambda client: list(case.batches(client, 77)),
        client_optimizer=SGD, server_optimizer=SGD,
    )  # fmt: skip


def trained(case: Case, kind: Any, clients: int, **changes: Any) -> tuple[Any, MemoryGrid]:
    strategy = kind(task_of(case), fraction_evaluate=1.0, **changes)
    nodes = MemoryGrid(build_client_app(lambda context: task_of(case)), clients)
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert strategy.last_round.failures == {}
    assert result.arrays is not None
    strategy.model_state(result.arrays)
    return strategy, nodes


@pytest.mark.sample
@rows("name", CASES, lambda name: name == "public padding")
@pytest.mark.parametrize("kind", [SplitFedV1, SplitFedV2])
def test_one_client_is_a_plain_loop(name: str, kind: Any) -> None:
    case = CASES[name]
    model = fresh(case)
    optimizer = SGD(model.parameters())
    for round_ in range(2):
        seed = derive_seed(0, "batches", round_, 0, 0)
        for inputs, labels in case.batches(ClientIdentity(0, 1), seed):
            optimizer.zero_grad()
            named = isinstance(inputs, dict)
            output = model(**inputs) if named else model(*as_tensors(inputs))
            case.loss(output, labels).backward()
            optimizer.step()
    strategy, nodes = trained(case, kind, 1)
    assert_same(strategy.task.model.merged_state_dict(), model.state_dict())
    assert len(strategy.task.hidden_example()) == case.crossing
    assert not any("labels" in content for content in nodes.received)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_several_clients_train_with_coded_messages(name: str) -> None:
    case = CASES[name]
    strategy, nodes = trained(case, SplitFedV1, 3, compression=PRESETS["strong"])
    before = dict(fresh(case).named_parameters())
    after = strategy.task.model.merged_state_dict()
    assert not [key for key, tensor in before.items() if torch.equal(tensor, after[key])]
    messages = [*nodes.sent, *nodes.received]
    assert strategy.ledger.total == sum(r.count_bytes() for m in messages for r in m.values())
