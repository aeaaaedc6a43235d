"""A kind of task from outside the package: regression on numbers, by its name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Context, RecordDict

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.config import Options, one_of, setting
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.task import SplitTask
from fsl_sage_flwr.task_registry import TASKS, TaskKind, TaskSettings

from ..few_rounds import few_rounds
from ..kinds import numbers_of, numbers_task
from ..memory_grid import MemoryGrid
from ..rows import rows
from ..tasks import client_of


@dataclass(frozen=True)
class NumberOptions(Options):
    """Options of a run on numbers."""

    offset: float = setting(0.0, "is added to nothing", ge=0)


def build(settings: TaskSettings, options: NumberOptions) -> SplitTask:
    built.append(options)
    return replace(
        numbers_task(), seed=settings.seed, local_epochs=settings.training["local_epochs"]
    )


built: list[NumberOptions] = []
KIND = TaskKind(
    name="numbers",
    options=NumberOptions,
    build=build,
    test_batches=lambda settings, options: lambda: list(numbers_of(client_of(0), 5)),
    checks={"model": one_of(["line"]), "dataset": one_of(["numbers"])},
)
RUN: dict[str, Any] = {
    "task": "numbers", "model": "line", "dataset": "numbers", "num-server-rounds": 2,
    "align.dataset-size": 8, "align.batch-size": 4, "offset": 3.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = set(TASKS)
    TASKS.register(KIND.name, KIND)
    yield
    for name in set(TASKS) - before:
        TASKS.remove(name)


def _task(context: Context) -> SplitTask:
    return build_task(RunConfig.from_run_config(context.run_config), on_client=True)


@pytest.mark.sample
@rows("algorithm", ALGORITHMS, lambda name: name in ("fsl_sage", "fed_avg"))
def test_it_is_named_in_a_run_configuration_with_its_keys(tmp_path: Path, algorithm: str) -> None:
    few = few_rounds(algorithm)
    config = {**RUN, "algorithm": algorithm, "results-dir": str(tmp_path), **few}
    nodes = MemoryGrid(build_client_app(_task), 3, run_config=config)
    main(nodes, Context(1, 0, {}, RecordDict(), config))
    (file,) = tmp_path.rglob("history.csv")
    history = pd.read_csv(file)
    assert history["failures"].tolist() == [0, 0]
    assert history["test_accuracy"].isna().all()
    assert history["test_mean_absolute_error"].notna().all()
    assert history["test_loss"].iloc[1] < history["test_loss"].iloc[0]
    assert built[-1].offset == 3.0
    assert json.loads((file.parent / "config.json").read_text(encoding="utf-8"))["offset"] == 3.0
    assert (file.parent / "full_model.pt").is_file()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"offset": -1.0}, "offset = -1.0: it must be at least 0"),
        ({"model": "resnet18"}, "model = 'resnet18': valid are line"),
        ({"task": "numers"}, "did you mean 'numbers'?"),
    ],
)
def test_its_keys_and_its_models_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_run_config({**RUN, **values})
    assert message in str(caught.value)


def test_a_key_of_another_task_is_idle() -> None:
    idle = RunConfig.from_run_config(RUN).unused_keys()
    assert idle["adapter.rank"] == "task"
    assert "offset" not in idle


def test_a_name_or_a_key_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="task 'numbers' is registered already"):
        TASKS.register(KIND.name, KIND)

    @dataclass(frozen=True)
    class Clashing(Options):
        seed: int = setting(1, "")

    @dataclass(frozen=True)
    class Otherwise(Options):
        max_length: int = setting(3, "", group="language")

    with pytest.raises(ValueError, match=r"'language\.max-length' is an option of causal_lm with"):
        TASKS.register("otherwise", replace(KIND, name="otherwise", options=Otherwise))
    TASKS.register("clashing", replace(KIND, name="clashing", options=Clashing))
    with pytest.raises(ConfigError, match="'seed' belongs to every run"):
        RunConfig.from_run_config(RUN)
