"""The task defines losses, scores and the sent part of a half."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.objective import (
    Objective,
    Score,
    classification,
    logits_of,
    multi_label,
    regression,
    segmentation,
)
from fsl_sage_flwr.objective.classification import cross_entropy, in_rows
from fsl_sage_flwr.splitting import SplitError, evaluate, list_cuts, split
from fsl_sage_flwr.splitting.precision import autocast
from fsl_sage_flwr.strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    SplitFedV1,
    TrainingFailedError,
)
from fsl_sage_flwr.task import SplitTask

from ..kinds import maps_task, numbers_task
from ..memory_grid import MemoryGrid
from ..runs import train
from ..tasks import CLASSES, CLIENTS, small_app, small_batches, small_task

LOGITS = torch.tensor([[1.0, 2.0], [3.0, 0.0]])


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(
    "output",
    [LOGITS, {"logits": LOGITS}, Output(None, LOGITS), (LOGITS, None), {"hidden": LOGITS},
     Output(torch.tensor(1.0), LOGITS)],
)  # fmt: skip
def test_scores_are_found_in_what_models_return(output: object) -> None:
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize("output", [None, 3, {}, "text", ()])
def test_an_output_without_scores_is_named(output: object) -> None:
    with pytest.raises(TypeError, match=f"returns {type(output).__name__} without a tensor"):
        logits_of(output)


class Dictionary(nn.Module):
    """Returns a mapping, or a dataclass, with its scores."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.front, self.back, self.kind = nn.Linear(4, 6), nn.Linear(6, 3), kind

    def forward(self, x: Tensor) -> Output | Mapping[str, Tensor]:
        logits = self.back(torch.relu(self.front(x)))
        return Output(None, logits) if self.kind is Output else {"logits": logits}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Output, dict])
def test_a_model_that_returns_a_structure_is_evaluated_and_listed(kind: type) -> None:
    model, example = Dictionary(kind), torch.randn(2, 4)
    plain = nn.Sequential(model.front, nn.ReLU(), model.back)
    x, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    objective = classification(3)

    def context() -> object:
        return autocast(torch.device("cpu"), "fp32")

    found = evaluate((model,), [(x, labels)], objective, context)  # type: ignore[arg-type]
    assert found == evaluate((plain,), [(x, labels)], objective, context)  # type: ignore[arg-type]
    assert found.loss == pytest.approx(F.cross_entropy(plain(x), labels).item())
    assert [cut.name for cut in list_cuts(model, example)] == ["back"]
    assert split(model, "back", example).cut == "back"


def test_scores_are_put_together_by_what_they_count_for() -> None:
    assert Score.mean([Score(1.0, 1), Score(0.0, 3)]) == Score(0.25, 4)
    assert math.isnan(Score.mean([]).value)


def test_a_task_needs_classes_or_an_objective_and_not_two_losses() -> None:
    task = small_task()
    with pytest.raises(ValueError, match="num_classes = None: a task without classes needs"):
        SplitTask(task.model, task.example, None, task.train_batches)
    with pytest.raises(ValueError, match="has a loss and an objective"):
        SplitTask(
            task.model, task.example, CLASSES, task.train_batches,
            loss=F.cross_entropy, objective=regression(),
        )  # fmt: skip
    again = replace(task, seed=4)
    assert again.objective is task.objective
    assert again.loss is task.loss is task.objective.loss


def only_the_stem(module: nn.Module) -> Mapping[str, Tensor]:
    """What an adapter would be: a part of the client half travels, the rest stays."""
    return {name: t for name, t in module.state_dict().items() if not name.startswith("norm")}


def load_a_part(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    module.load_state_dict({**module.state_dict(), **weights})


@pytest.mark.slow
@pytest.mark.parametrize("make", [SplitFedV1, CseFsl])
def test_what_travels_of_a_half_is_asked_of_the_task(make: type) -> None:
    changes = {"weights_of": only_the_stem, "load_weights": load_a_part}
    strategy = make(small_task(**changes))
    nodes = MemoryGrid(build_client_app(lambda context: small_task(**changes)), CLIENTS)
    arrays = train(strategy, nodes, 2)
    assert strategy.last_round.failures == {}
    carried = [c.array_records["arrays"] for c in [*nodes.sent, *nodes.received] if "arrays" in c]
    assert {tuple(record) for record in carried} == {("stem.weight",)}
    client, _ = strategy.model_state(arrays)
    assert "norm.weight" in client
    assert torch.equal(client["stem.weight"], arrays.to_torch_state_dict()["stem.weight"])


def test_by_default_all_of_it_travels() -> None:
    strategy, nodes = CseFsl(small_task()), MemoryGrid(small_app(), CLIENTS)
    train(strategy, nodes, 1)
    carried = next(c.array_records["arrays"] for c in nodes.sent if "arrays" in c)
    assert list(carried) == list(strategy.task.model.client.state_dict())


def own(scores: Any, *names: str, problem: Any = lambda labels: None) -> Objective:
    return Objective(F.cross_entropy, scores, names, problem, lambda n: torch.zeros(n).long())


def test_a_scores_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the score .loss. has a reserved name"):
        own(lambda output, labels: {"loss": (1.0, 1.0)}, "loss")


def test_scores_that_are_not_the_listed_ones_are_named() -> None:
    objective = own(lambda output, labels: {"f1": (1.0, 1.0)}, "recall")
    with pytest.raises(ValueError, match="scores are f1, and its score_names recall"):
        objective.scored(LOGITS, torch.zeros(2).long())


@pytest.mark.slow
def test_scores_may_be_tensors_and_negative_and_weigh_little() -> None:
    """As R² may be; FedAvg's clients send them, the server finds the others'."""
    objective = own(lambda output, labels: {"r2": (-torch.ones(()), torch.tensor(0.5))}, "r2")
    changes: dict[str, Any] = {
        "objective": objective, "num_classes": CLASSES,
        "validation_batches": lambda client: list(small_batches(client, 5)),
    }  # fmt: skip
    for make in (FullModelFedAvg, CseFsl):
        strategy = make(small_task(**changes), fraction_evaluate=1.0)
        nodes = MemoryGrid(build_client_app(lambda context: small_task(**changes)), CLIENTS)
        train(strategy, nodes, 1)
        assert strategy.last_round.failures == {}
        found = strategy.last_round.validation
        assert found is not None
        assert found.scores["r2"].value == -2.0


@pytest.mark.slow
def test_an_objective_that_cannot_check_labels_refuses_them() -> None:
    """The run continues after any reply of a client."""

    def largest(labels: Tensor) -> str | None:
        return None if int(labels.max()) < CLASSES else "too large"

    def empty(partition: int, reply: Message) -> Message:
        if partition == 1 and "labels" in reply.content:
            tensors = dict(reply.content.array_records["labels"].to_torch_state_dict())
            tensors["labels"] = tensors["labels"][:, None][:, :0]
            reply.content["labels"] = ArrayRecord(tensors)
        return reply

    objective = own(lambda output, labels: {}, problem=largest)
    strategy = CseFsl(small_task(objective=objective))
    train(strategy, MemoryGrid(small_app(), CLIENTS, tamper=empty), 1)
    assert "labels cannot be checked: " in strategy.last_round.failures[1]
    assert strategy.last_round.clients == CLIENTS - 1


def test_something_else_than_an_objective_is_named() -> None:
    with pytest.raises(ValueError, match="an Objective is needed"):
        small_task(objective=F.mse_loss)


def test_a_default_head_that_does_not_fit_the_labels_is_refused() -> None:
    task = replace(maps_task(), auxiliary=None)
    for make in (CseFsl, FslSage):
        with pytest.raises(SplitError, match="give SplitTask auxiliary=…"):
            make(task)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_classes_may_be_whole_numbers_of_any_dtype(dtype: torch.dtype) -> None:
    labels, objective = torch.tensor([1, 0]), classification(2)
    assert objective.problem_with(labels.to(dtype)) is None
    assert torch.equal(objective.loss(LOGITS, labels.to(dtype)), F.cross_entropy(LOGITS, labels))
    assert objective.problem_with(torch.tensor([2, 0], dtype=dtype)) is not None


def test_several_labels_are_scored_by_hand() -> None:
    logits = torch.tensor([[1.0, -1.0, 2.0], [-3.0, 1.0, 1.0]])
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    objective = multi_label(3)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    assert torch.equal(objective.loss(logits, labels), loss)
    assert torch.equal(objective.loss(logits, labels.bool()), loss)
    found = objective.scored(logits, labels)
    assert found == {"label_accuracy": (4, 6), "precision": (3, 4), "recall": (3, 4)}
    means = {name: Score(total / weight, weight) for name, (total, weight) in found.items()}
    assert objective.figures(0.5, means)["f1"] == 0.75
    nothing = dict.fromkeys(means, Score(0.0, 0))
    assert math.isnan(objective.figures(0.5, nothing)["f1"])
    none_said = {**means, "precision": Score(math.nan, 0), "recall": Score(0.0, 4)}
    assert objective.figures(0.5, none_said)["f1"] == 0.0


def test_pixels_are_scored_by_hand() -> None:
    """Two classes of three are there; one pixel has none."""
    given = torch.tensor([[[0, 0], [1, 1]]])
    scores = F.one_hot(given, 3).permute(0, 3, 1, 2).float()
    labels = torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8)
    objective = segmentation(3, (2, 2))
    found = objective.scored(scores, labels)
    assert found == {
        "pixel_accuracy": (2, 3), "iou_0": (1, 2), "iou_1": (1, 2), "iou_2": (0, 0),
    }  # fmt: skip
    assert objective.count(labels) == 3
    means = {
        name: Score(total / weight if weight else 0.0, weight)
        for name, (total, weight) in found.items()
    }
    assert objective.figures(1.0, means)["mean_iou"] == 0.5
    expected = F.cross_entropy(scores, labels.long(), ignore_index=255)
    assert torch.equal(objective.loss(scores, labels), expected)
    unknown = torch.full((1, 2, 2), 255)
    assert objective.count(unknown) == objective.loss(scores, unknown).item() == 0
    assert objective.problem_with(unknown) is None


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda: replace(numbers_task(), objective=regression((2,)), loss=None),
         r"does not accept the server half's output of shape \(2, 1\), with labels of shape "
         r"\(2, 2\)"),
        (lambda: small_task(num_classes=CLASSES + 1), "does not accept the server half's output"),
        (lambda: replace(maps_task(), objective=segmentation(4, (5, 5)), loss=None),
         r"3 scores a pixel along axis 1, and 4 classes|out of bounds"),
        (lambda: replace(maps_task(), objective=segmentation(2, (5, 5)), loss=None),
         r"3 scores a pixel along axis 1, and 2 classes"),
    ],
)  # fmt: skip
def test_what_a_task_cannot_learn_is_refused_before_anything_starts(
    task: Any, message: str
) -> None:
    with pytest.raises(SplitError, match=message):
        FullModelFedAvg(task())


@pytest.mark.parametrize("make", [FullModelFedAvg, CseFsl])
def test_a_clients_labels_are_checked_where_they_are(make: type) -> None:
    def floats(client: Any, seed: int) -> list[tuple[Tensor, Tensor]]:
        return [(x, labels.float()) for x, labels in small_batches(client, seed)]

    strategy = make(small_task(), max_failed_rounds=2)
    nodes = MemoryGrid(build_client_app(lambda context: small_task(train_batches=floats)), CLIENTS)
    with pytest.raises(TrainingFailedError, match="no round was trained"):
        train(strategy, nodes, 1)
    said = strategy.last_round.failures[1]
    assert "train_batches of client 1: labels must be one vector of whole numbers" in said


def test_rows_of_a_label_map_have_its_loss(monkeypatch):
    scores, labels = torch.randn(2, 4, 3, 5, requires_grad=True), torch.randint(4, (2, 3, 5))
    assert in_rows(scores, labels) == (scores, labels)
    expected = torch.nn.functional.cross_entropy(scores, labels)
    (its,) = torch.autograd.grad(expected, scores)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert in_rows(scores, labels)[0].shape == (30, 4)
    found = cross_entropy(scores, labels)
    (gradient,) = torch.autograd.grad(found, scores)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, its)
    few = torch.randn(6, 4), torch.randint(4, (6,))
    assert in_rows(*few) == few
