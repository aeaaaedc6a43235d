"""Losses and outputs that training would take without an error, and learn something else from."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import Context
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.objective import Objective, classification, scores_of
from fsl_sage_flwr.splitting import SplitError, check_twice_differentiable, split
from fsl_sage_flwr.strategies import CseFsl, FslSage, FullModelFedAvg, SplitFedV1, SplitStrategy
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ..memory_grid import MemoryGrid
from ..runs import assert_same, train
from ..tasks import CLASSES, CLIENTS, small_app, small_task

ALL = [FullModelFedAvg, SplitFedV1, CseFsl, FslSage]


class ArcFace(nn.Module):
    """A loss with the weights of its classes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, CLASSES))

    def forward(self, output: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(F.normalize(output) @ F.normalize(self.weight).t(), labels)


GLOBAL = ArcFace()


def of_a_global(output: Tensor, labels: Tensor) -> Tensor:
    return GLOBAL(output, labels)


def weighted(scale: Tensor, output: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(output, labels) * torch.exp(-scale) + scale


@pytest.mark.parametrize(
    "loss", [ArcFace(), of_a_global, partial(weighted, nn.Parameter(torch.zeros(())))]
)
@pytest.mark.parametrize("make", ALL)
def test_a_loss_with_weights_is_refused(make: Any, loss: Any) -> None:
    with pytest.raises(SplitError, match=r"the loss has 1 separate trainable weights .*freeze"):
        make(small_task(loss=loss))


def test_fixed_weights_and_penalties_of_the_model_are_taken() -> None:
    task = small_task()
    server = list(task.model.server.parameters())
    frozen = ArcFace().requires_grad_(False)
    for loss in (
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])),
        frozen,
        lambda output, labels: F.cross_entropy(output, labels) + server[0].square().sum(),
    ):
        changed = small_task(loss=loss)
        object.__setattr__(changed, "model", task.model)
        changed.check_objective()


@pytest.mark.parametrize("make", ALL)
def test_a_sum_is_refused(make: Any) -> None:
    words = r"twice is .*, and .* once: it is a sum, and the mean is needed: reduction='mean'"
    with pytest.raises(SplitError, match=words):
        make(small_task(loss=nn.CrossEntropyLoss(reduction="sum")))
    with pytest.raises(SplitError, match=r"the loss is \(4,\); a scalar is needed, the mean"):
        make(small_task(loss=nn.CrossEntropyLoss(reduction="none")))


def test_a_loss_between_samples_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def between(output: Tensor, labels: Tensor) -> Tensor:
        unlike = output @ output.t() + 9 * torch.eye(len(output))
        return F.cross_entropy(unlike, torch.arange(len(output)))

    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        small_task(loss=between).check_objective()
    assert "the samples of a batch have a common loss" in caplog.text


def test_scores_of_more_classes_than_the_labels_have_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    small_task().check_objective()
    assert "scores per sample" not in caplog.text
    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        small_task(num_classes=2, objective=classification(2)).check_objective()
    assert "gives 3 scores per sample, and num_classes is 2: no label has" in caplog.text


class Both(nn.Module):
    """Returns an embedding and the scores, by one of the ways that people do it."""

    def __init__(self, way: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.front, self.back, self.last = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(3, 3)
        self.way = way

    def forward(self, x: Tensor) -> Any:
        embedding = self.back(torch.relu(self.front(x)))
        return self.way(embedding, self.last(torch.relu(embedding)))


class Scores(Both):
    def __init__(self) -> None:
        super().__init__(lambda embedding, scores: scores)


def batches_of(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed + client.partition_id)
    for _ in range(3):
        x = torch.randn(6, 4, generator=generator)
        yield x, x[:, :3].argmax(dim=1)


def task_of(make: Callable[[], nn.Module], **changes: Any) -> SplitTask:
    torch.manual_seed(0)
    example = torch.randn(4, 4)
    return SplitTask(split(make(), "back", example), example, CLASSES, batches_of, **changes)


WAYS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[[Any], Any]]] = {
    "tuple": (lambda e, s: (e, s), lambda output: output[1]),
    "list": (lambda e, s: [e, s], lambda output: output[1]),
    "dict": (lambda e, s: {"embedding": e, "scores": s}, lambda output: output["scores"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", ALL)
def test_of_several_tensors_none_is_guessed(make: type[SplitStrategy], way: str) -> None:
    model, pick = WAYS[way]
    with pytest.raises(SplitError, match=r"returns several tensors .* none is named 'logits'"):
        make(task_of(partial(Both, model)))

    def trained(build: Callable[[], SplitTask]) -> dict[str, Any]:
        def on_client(context: Context) -> SplitTask:
            return build()

        strategy = make(build())
        result = strategy.start(
            MemoryGrid(build_client_app(on_client), 2), strategy.initial_arrays(), num_rounds=2
        )
        assert result.arrays is not None
        return dict(zip("cs", strategy.model_state(result.arrays), strict=True))

    reading = partial(task_of, partial(Both, model), objective=classification(3).reading(pick))
    assert_same(trained(reading), trained(partial(task_of, Scores)))


def test_names_and_single_tensors_need_no_choice() -> None:
    scores, other = torch.randn(2, 3), torch.randn(2, 5)
    for output in (
        {"hidden": other, "logits": scores},
        {"aux": other, "out": scores},
        (scores, None),
        (torch.tensor(1.0), scores),
        (scores, torch.tensor([1, 2])),
        scores,
    ):
        assert scores_of(output) is scores
    with pytest.raises(TypeError, match="several tensors"):
        scores_of((other, scores))


def test_a_structure_of_an_objective_of_ones_own_is_not_refused() -> None:
    own = Objective(
        lambda output, labels: F.cross_entropy(output[1], labels) + output[0].square().mean(),
        lambda output, labels: {},
        (),
        lambda labels: None,
        lambda count: torch.zeros(count, dtype=torch.int64),
    )
    task_of(partial(Both, lambda e, s: (e, s)), objective=own).check_objective()


class Spectrum(nn.Module):
    """Sends a complex tensor over the cut."""

    def __init__(self, *, real: bool) -> None:
        super().__init__()
        self.front, self.back = nn.Linear(4, 6), nn.Linear(8, 3)
        self.middle, self.real = nn.Identity(), real

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self.front(x))
        crossing = self.middle(torch.view_as_real(spectrum) if self.real else spectrum)
        return self.back((crossing if self.real else torch.view_as_real(crossing)).flatten(1))


@pytest.mark.slow
@pytest.mark.parametrize("make", ALL)
def test_a_complex_tensor_over_the_cut_is_refused(make: Any) -> None:
    torch.manual_seed(0)
    example = torch.randn(4, 4)

    def task(real: bool) -> SplitTask:
        halves = split(Spectrum(real=real), "middle", example)
        return SplitTask(halves, example, CLASSES, batches_of)

    with pytest.raises(SplitError, match=r"a complex tensor crosses the cut 'middle'.*view_as"):
        make(task(real=False))
    assert make(task(real=True)).task.smashed_example()[0].shape == (4, 4, 2)


def test_a_loss_without_second_derivative_is_not_blamed_on_the_head() -> None:
    def ctc(output: Tensor, labels: Tensor) -> Tensor:
        long = torch.full((len(labels),), 5)
        scores = output.view(len(output), 5, 3).log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(scores, labels, long, torch.full_like(long, 2))

    objective = Objective(
        ctc, lambda output, labels: {}, (), lambda labels: None, lambda count: torch.ones(count, 2)
    )
    labels = torch.tensor([[1, 2], [2, 1]])
    with pytest.raises(SplitError, match=r"estimates of this loss .*'_?ctc_loss' cannot be diff"):
        check_twice_differentiable(nn.Linear(4, 15), (torch.randn(2, 4),), labels, objective)


def test_server_weights_whose_steps_do_nothing_are_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def still(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(parameters), lr=0.0)

    strategy = SplitFedV1(small_task(server_optimizer=still))
    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        train(strategy, MemoryGrid(small_app(), CLIENTS), 3)
    named = [r.getMessage() for r in caplog.records if "trainable weights" in r.getMessage()]
    assert named == [
        "5 trainable weights of the server half have not changed in 10 steps: their gradient is 0, "
        "or their steps are below the precision of their dtype: block.0.weight, block.1.weight, "
        "block.1.bias, …. Freeze them (requires_grad_(False)) if that is intended"
    ]


@pytest.mark.slow
def test_weights_that_are_not_trained_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    def two(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(parameters)[:2], lr=0.1)

    changes = {"client_optimizer": two, "server_optimizer": two}
    strategy = SplitFedV1(small_task(**changes))
    nodes = MemoryGrid(small_app(**changes), CLIENTS)
    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=3)
    named = [r.getMessage() for r in caplog.records if "trainable weights" in r.getMessage()]
    assert named == [
        "3 trainable weights of the server half are in no group of server_optimizer: "
        "block.1.bias, last.2.weight, last.2.bias. Freeze them (requires_grad_(False)) if that is "
        "intended",
        "1 trainable weights of the clients have not changed in two rounds: norm.bias; the loss "
        "does not depend on them, client_optimizer leaves them out, or their steps are below the "
        "precision of their dtype. Freeze them (requires_grad_(False)) if that is intended",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("make", ALL)
def test_a_run_in_which_all_is_trained_has_no_such_line(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    strategy = make(small_task())
    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        strategy.start(MemoryGrid(small_app(), CLIENTS), strategy.initial_arrays(), num_rounds=2)
    assert "trainable weights" not in caplog.text
