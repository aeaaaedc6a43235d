"""The objectives of docs/how-to/extend.md train what a loop without a split trains, bit for bit."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fsl_sage_flwr
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.objective import scores_of
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import split
from fsl_sage_flwr.strategies import CseFsl, FslSage, SplitFedV1, SplitFedV2, SplitStrategy
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ..memory_grid import MemoryGrid
from ..runs import assert_same

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"
FEATURES, TOKENS, CLASSES = 4, 7, 3


def block_of(title: str) -> str:
    """Return the code below a bold title."""
    text = DOCS.read_text(encoding="utf-8").partition("### Labels that people have")[2]
    found = re.search(rf"\*\*{re.escape(title)}\*\*.*?```python\n(.*?)```", text, re.DOTALL)
    assert found, title
    return found[1]


def defined_by(title: str, **given: Any) -> dict[str, Any]:
    known: dict[str, Any] = {name: getattr(fsl_sage_flwr, name) for name in fsl_sage_flwr.__all__}
    known |= {"torch": torch, "nn": nn, "F": F, "scores_of": scores_of, **given}
    exec(block_of(title), known)
    return known


class Net(nn.Module):
    def __init__(self, outputs: int, way: Callable[[Tensor], Any] = lambda hidden: hidden) -> None:
        super().__init__()
        self.front, self.back, self.last = nn.Linear(4, 16), nn.Linear(16, 8), nn.Linear(8, outputs)
        self.way = way

    def forward(self, x: Tensor) -> Any:
        return self.way(self.last(torch.relu(self.back(torch.relu(self.front(x))))))


def inputs_of(client: ClientIdentity, seed: int, *shape: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed + client.partition_id)
    for _ in range(3):
        yield torch.randn(6, *shape, FEATURES, generator=generator)


def kinds(x: Tensor) -> Tensor:
    return x[..., :CLASSES].argmax(dim=-1)


def some_ignored(x: Tensor) -> Tensor:
    return kinds(x).masked_fill(x[..., 3] > 0.5, -100)


def soft(x: Tensor) -> Tensor:
    return torch.softmax(x[:, :CLASSES], dim=1)


def several(x: Tensor) -> dict[str, Tensor]:
    return {"age": x[:, 3], "kind": kinds(x).float()}


def in_dict(hidden: Tensor) -> dict[str, Tensor]:
    return {"age": hidden[:, :1], "kind": hidden[:, 1:]}


# By title: labels of inputs, the model, the loss of a plain loop, and shape of a sample's inputs.
CASES: dict[str, tuple[Any, Callable[[], nn.Module], Any, tuple[int, ...]]] = {
    "One logit": (
        lambda x: (x[:, :1] > 0).float(),
        lambda: Net(1),
        nn.BCEWithLogitsLoss(),
        (),
    ),
    "Labels that are ignored": (some_ignored, lambda: Net(3), nn.CrossEntropyLoss(), ()),
    "Token classifiers": (
        some_ignored,
        lambda: Net(3),
        lambda scores, labels: F.cross_entropy(scores.transpose(1, 2), labels),
        (TOKENS,),
    ),
    "Soft labels": (soft, lambda: Net(3), nn.CrossEntropyLoss(), ()),
    "Several tasks": (
        several,
        lambda: Net(4, in_dict),
        lambda output, labels: (
            F.mse_loss(output["age"][:, 0], labels["age"])
            + F.cross_entropy(output["kind"], labels["kind"].long())
        ),
        (),
    ),
    "A model that returns more than scores": (
        kinds,
        lambda: Net(3, lambda hidden: (hidden.sin(), hidden)),
        lambda output, labels: F.cross_entropy(output[1], labels),
        (),
    ),
}


def labelled(title: str, client: ClientIdentity, seed: int) -> Iterable[Any]:
    labels_of, _, _, shape = CASES[title]
    return ((x, labels_of(x)) for x in inputs_of(client, seed, *shape))


def fresh(title: str) -> nn.Module:
    torch.manual_seed(0)
    return CASES[title][1]()


def task_of(title: str, tail: str = "") -> SplitTask:
    own_batches = partial(labelled, title)
    known = defined_by(title, own_batches=own_batches)
    example = torch.randn(2, *CASES[title][3], FEATURES)
    return SplitTask(
        split(fresh(title), "back", example, tail=tail),
        example,
        num_classes=None,
        train_batches=known.get("train_batches", own_batches),
        objective=known["objective"],
        client_optimizer=partial(torch.optim.SGD, lr=0.1),
        server_optimizer=partial(torch.optim.SGD, lr=0.1),
        auxiliary=(lambda: nn.Linear(16, CLASSES)) if title == "Token classifiers" else None,
    )


def trained(
    title: str, make: type[SplitStrategy], clients: int, tail: str = ""
) -> dict[str, Tensor]:
    strategy = make(task_of(title, tail))
    nodes = MemoryGrid(build_client_app(lambda context: task_of(title, tail)), clients)
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert strategy.last_round.failures == {}
    assert result.arrays is not None
    assert bool(tail) != any("labels" in content for content in nodes.received)
    return strategy.task.model.joined(*strategy.model_state(result.arrays))


@pytest.mark.sample
@pytest.mark.parametrize("title", CASES)
@pytest.mark.parametrize(
    ("make", "tail"), [(SplitFedV1, ""), (SplitFedV1, "last"), (SplitFedV2, "last")]
)
def test_split_training_is_a_plain_loop(title: str, make: type[SplitStrategy], tail: str) -> None:
    """Also where the labels stay with the model's last layer."""
    model, loss = fresh(title), CASES[title][2]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for round_ in range(2):
        seed = derive_seed(0, "batches", round_, 0, 0)
        for x, labels in labelled(title, ClientIdentity(0, 1), seed):
            optimizer.zero_grad()
            loss(model(x), labels).backward()
            optimizer.step()
    assert_same(trained(title, make, 1, tail), dict(model.state_dict()))


@pytest.mark.sample
@pytest.mark.parametrize("title", CASES)
@pytest.mark.parametrize("make", [CseFsl, FslSage])
def test_it_trains_with_heads(title: str, make: type[SplitStrategy]) -> None:
    before, after = dict(fresh(title).named_parameters()), trained(title, make, 2)
    assert not any(torch.equal(parameter, after[name]) for name, parameter in before.items())
