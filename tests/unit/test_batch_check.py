"""What a task's functions give is checked in one line, before torch meets it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import Context
from flwr.serverapp import ServerApp
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fsl_sage_flwr import run_inline, strategies
from fsl_sage_flwr.batch_check import EXPECTED, check_batch, explaining_other_sizes
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.messages import MissingPayloadError, SmashedBatches
from fsl_sage_flwr.splitting import as_tensors, split
from fsl_sage_flwr.strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    SplitFedV1,
    SplitStrategy,
    TrainingFailedError,
)
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ..memory_grid import MemoryGrid
from ..tasks import CLIENTS, small_app, small_task

X, Y = torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])
STRATEGIES = [
    name for name in strategies.__all__
    if isinstance(made := getattr(strategies, name), type) and issubclass(made, SplitStrategy)
    and made is not SplitStrategy
]  # fmt: skip
EXAMPLE = torch.zeros(2, 1, 6, 6)
WRONG: dict[str, tuple[Any, str]] = {
    "inputs alone": (X, r"a Tensor of shape \(4, 1, 6, 6\) alone: inputs without labels"),
    "a dict": ({"image": X, "label": Y}, "a dict of 'image', 'label'; each batch must be a pair"),
    "a triple": ((X, X, Y), r"3 values \(.*give \(\(first, second\), labels\)"),
    "NumPy inputs": ((X.numpy(), Y), r"inputs as a ndarray of shape \(4, 1, 6, 6\): give tensors"),
    "NumPy labels": ((X, Y.numpy()), r"labels as a ndarray of shape \(4,\): give torch.as_tensor"),
    "a list of labels": ((X, [0, 1, 2, 0]), "labels as a list: give torch.as_tensor"),
    "labels of several tasks": ((X, {"age": Y, "id": Y}), "labels as a dict of 'age', 'id': stack"),
    "an input too many": (((X, X), Y), "2 tensors of inputs, and the task's example has 1"),
    "a dict of inputs": (({"x": X}, Y), "inputs as a dict of 'x'; the model was cut with"),
    "NumPy's float64": ((X.double(), Y), r"inputs of torch.float64, .*with .to\(torch.float32\)"),
    "bytes": ((X.byte(), Y), r"inputs of torch.uint8, and the task's example has torch.float32"),
    "no channels": ((X[:, 0], Y), r"inputs of shape \(4, 6, 6\), .* has \(4, 1, 6, 6\): give as"),
    "one label": ((X, torch.tensor(1)), "one number as label"),
    "None": (None, r"nothing \(None\)"),
}  # fmt: skip


@pytest.mark.parametrize(("batch", "words"), WRONG.values(), ids=WRONG)
def test_a_batch_of_another_form_is_refused_in_one_line(batch: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"train_batches gives {words}") as refused:
        small_task().on_device(batch)
    assert EXPECTED in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("batch", [(X, Y), [X, Y], ((X,), Y), ([X], Y), (X, X)])
def test_pairs_are_taken(batch: Any) -> None:
    check_batch(batch, EXAMPLE, "train_batches")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (X, r"inputs as a Tensor of shape \(4, 1, 6, 6\): give a mapping with 'ids', 'mask'"),
        ({"ids": Y}, "inputs named 'ids'; the model was cut with an example of 'ids', 'mask'"),
        ({"ids": Y, "mask": Y[:, None]}, r"inputs of shape \(4, 1\), and the task's example has"),
    ],
)
def test_named_inputs_of_another_form_are_refused_by_name(inputs: Any, words: str) -> None:
    example = {"ids": Y, "mask": Y}
    check_batch(({"mask": Y, "ids": Y}, Y), example, "train_batches")
    with pytest.raises(ValueError, match=words):
        check_batch((inputs, Y), example, "train_batches")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"model": nn.Linear(2, 2)}, "model is a Linear; cut it: SplitTask"),
        ({"client_optimizer": torch.optim.SGD([X], 0.1)}, "client_optimizer is a SGD; give a func"),
    ],
)
def test_a_part_of_another_kind_is_refused(part: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(small_task(), **part)


def batches_of(*shape: int) -> Callable[[ClientIdentity, int], list[Batch]]:
    return lambda client, seed: [(torch.randn(4, *shape), Y)]


@pytest.mark.parametrize("make", [FslSage, SplitFedV1])
def test_other_sizes_are_named_where_a_pass_fails(make: type[SplitStrategy]) -> None:
    strategy = make(small_task())
    app = small_app(train_batches=batches_of(3, 6, 6))
    said = (
        r"ValueError: train_batches gives inputs of float32 \(·, 3, 6, 6\); the example is float32 "
        r"\(·, 1, 6, 6\): Given groups=1"
    )
    with pytest.raises(TrainingFailedError, match=said):
        strategy.start(MemoryGrid(app, CLIENTS), strategy.initial_arrays(), num_rounds=1)


def test_sizes_that_the_model_takes_are_not_refused() -> None:
    task = small_task()
    with explaining_other_sizes():
        inputs, _ = task.on_device((torch.randn(4, 1, 9, 7), Y))
        assert task.model.client(*as_tensors(inputs)).shape[-2:] == (9, 7)

    def fail(inputs: Tensor) -> None:
        with explaining_other_sizes():
            task.on_device((inputs, Y), "validation_batches")
            raise RuntimeError("of torch")

    with pytest.raises(RuntimeError, match=r"^of torch"):
        fail(X)
    with pytest.raises(ValueError, match=r"^validation_batches gives .*6\): of torch"):
        fail(torch.randn(4, 3, 6, 6))


def test_errors_of_ones_own_keep_their_words() -> None:
    def fail() -> None:
        with explaining_other_sizes():
            small_task().on_device((torch.randn(4, 1, 9, 7), Y))
            raise MissingPayloadError("the exchange is gone")

    with pytest.raises(MissingPayloadError, match=r"^the exchange is gone"):
        fail()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_needs_a_task(name: str) -> None:
    make: Any = getattr(strategies, name)
    for task in (small_task().model, nn.Linear(2, 2), lambda context: small_task()):
        with pytest.raises(ValueError, match=rf"^task is a \w+; {make.__name__} takes a SplitTask"):
            make(task)
    with pytest.raises(TypeError, match=f"^{make.__name__} has no argument 'fraction_trainn': did"):
        make(small_task(), fraction_trainn=0.5)


def test_a_similar_argument_is_proposed() -> None:
    make: Any = FslSage
    with pytest.raises(TypeError, match="has no argument 'align_intervall': did you mean 'align_i"):
        make(small_task(), align_intervall=2)


def test_a_strategy_of_ones_own_may_read_any_arguments() -> None:
    class Own(CseFsl):
        def __init__(self, task: SplitTask, **others: Any) -> None:
            self.loudness = others.pop("loudness")
            super().__init__(task, **others)

    class Louder(CseFsl):
        def __init__(self, task: SplitTask, loudness: int = 1) -> None:
            self.loudness = loudness
            super().__init__(task)

    for make in (Own, Louder):
        assert make(small_task(), loudness=2).loudness == 2


def test_run_inline_needs_both_apps() -> None:
    run: Any = run_inline
    with pytest.raises(ValueError, match="server_app is a function; give a ServerApp"):
        run(lambda: None, build_client_app(lambda context: small_task()))
    with pytest.raises(ValueError, match="client_app is a SplitTask; give a ClientApp: build_clie"):
        run(ServerApp(), small_task())


def test_a_client_app_needs_a_function_that_builds_the_task() -> None:
    with pytest.raises(ValueError, match="task is a SplitTask; give a function that builds"):
        build_client_app(small_task())  # type: ignore[arg-type]


def test_as_many_labels_as_samples() -> None:
    with pytest.raises(ValueError, match="has 3 labels, and 4 samples of it cross the cut"):
        SmashedBatches.join([((X,), Y[:3])])


def test_a_fault_of_all_clients_ends_the_run_in_its_first_round(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With one traceback; three rounds of every client's would say no more."""
    broken = small_task(train_batches=lambda client, seed: [X])  # without labels
    app = build_client_app(lambda context: broken)
    strategy = FslSage(small_task())
    with pytest.raises(TrainingFailedError, match=r"all clients of round 1 .* the same error"):
        strategy.start(MemoryGrid(app, CLIENTS), strategy.initial_arrays(), num_rounds=9)
    assert strategy.rounds_done == 1
    assert sum(record.exc_info not in (None, False) for record in caplog.records) == 1


def test_a_dataloader_in_place_of_a_function_is_refused() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=2)
    with pytest.raises(ValueError, match=r"train_batches is a DataLoader; give a function train_b"):
        small_task(train_batches=loader)
    with pytest.raises(ValueError, match="validation_batches is a DataLoader; give a function"):
        small_task(validation_batches=loader)


def failures_of(strategy: SplitStrategy, batches: Any, **changes: Any) -> dict[int, str]:
    nodes = MemoryGrid(small_app(train_batches=batches, **changes), CLIENTS)
    with suppress(TrainingFailedError):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=1)
    return strategy.last_round.failures


@pytest.mark.slow
@pytest.mark.parametrize("make", [FullModelFedAvg, FslSage, CseFsl, SplitFedV1])
@pytest.mark.parametrize(
    ("given", "words"),
    [(None, r"train_batches returns nothing \(None\), which is no list of batches"),
     ([{"image": X}], "train_batches gives a dict of 'image'"),
     ([], "has no training examples")],
)  # fmt: skip
def test_every_algorithm_reports_it(make: type[SplitStrategy], given: Any, words: str) -> None:
    def batches(client: ClientIdentity, seed: int) -> Any:
        return given

    found = failures_of(make(small_task()), batches)
    assert found.keys() == set(range(CLIENTS))
    for reason in found.values():
        assert words.replace("\\", "") in reason


class Normalised(nn.Module):
    """Normalises over the batch alone on both sides."""

    def __init__(self, *, front: bool) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6) if front else nn.ReLU())
        self.back = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.front(x))


def with_a_last_batch_of_one(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed)
    for size in (4, 1):
        yield torch.randn(size, 4, generator=generator), torch.zeros(size, dtype=torch.int64)


@pytest.mark.sample
@pytest.mark.parametrize(
    "make", [FullModelFedAvg, partial(CseFsl, server_update_interval=1), SplitFedV1]
)
@pytest.mark.parametrize("front", [True, False])
def test_a_last_batch_of_one_with_batchnorm_is_explained(
    make: Callable[[SplitTask], SplitStrategy], front: bool
) -> None:
    def task(context: Context | None = None) -> SplitTask:
        torch.manual_seed(0)
        halves = split(Normalised(front=front), "back", torch.randn(4, 4))
        return SplitTask(halves, torch.zeros(2, 4), 3, with_a_last_batch_of_one)

    strategy = make(task())
    nodes = MemoryGrid(build_client_app(task), 2)
    with suppress(TrainingFailedError):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=1)
    failures = strategy.last_round.failures
    assert set(failures) == {0, 1}
    for reason in failures.values():
        assert "batch of 1" in reason
        assert "BatchNorm" in reason
