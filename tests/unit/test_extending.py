"""A model, a dataset, a distribution and an algorithm from outside the package, in one run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from flwr_datasets.partitioner import LinearPartitioner
from torch import nn

from fsl_sage_flwr.algorithm_registry import ALGORITHMS, Algorithm, LineStyle
from fsl_sage_flwr.analysis.labels import place
from fsl_sage_flwr.analysis.pictures.style import styles
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.config import Options, setting
from fsl_sage_flwr.data import (
    DATASETS,
    DISTRIBUTIONS,
    DatasetEntry,
    DistributionEntry,
    ImageDataset,
)
from fsl_sage_flwr.models import MODELS, ModelEntry
from fsl_sage_flwr.nodes.shared_head import train_shared_head
from fsl_sage_flwr.registries import Registry
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.simulations.cut_table import cut_table
from fsl_sage_flwr.splitting import Cut, SplitError, Workload
from fsl_sage_flwr.strategies import CseFsl, StrategySettings
from fsl_sage_flwr.task import SplitTask

from ..memory_grid import MemoryGrid
from .test_server_app import run_directory, summary_of

TYPE = "train.louder_cse_fsl"
heard: list[str] = []


class LouderCseFsl(CseFsl):
    """CSE-FSL with a loudness."""

    message_type = TYPE

    def __init__(self, task: SplitTask, loudness: int, settings: StrategySettings) -> None:
        super().__init__(task, **settings)
        self.loudness = loudness


@dataclass(frozen=True)
class LouderOptions(Options):
    loudness: int = setting(1, "how loudly", ge=0)


def louder_train(message: Any, context: Context, task: SplitTask) -> Any:
    heard.append(message.metadata.message_type)
    return train_shared_head(message, context, task)


def louder_bytes(cut: Cut, work: Workload, options: LouderOptions) -> int:
    return 1000 * options.loudness


def louder(name: str, handlers: dict[str, Any], **changes: Any) -> Algorithm[Any]:
    settings: dict[str, Any] = {
        "strategy": lambda task, options, rest: (
            made.append(LouderCseFsl(task, options.loudness, rest)) or made[-1]
        ),
        "options": LouderOptions,
        "round_bytes": louder_bytes,
        "style": LineStyle("#123456", "x", "-"),
    }
    return Algorithm(name, "Louder", handlers=handlers, **{**settings, **changes})


made: list[LouderCseFsl] = []
LOUDER = louder("louder_cse_fsl", {TYPE: louder_train})


def flat_model(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    width = image_shape[0] * image_shape[1] * image_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, num_classes))


def stripes() -> tuple[ImageDataset, ImageDataset]:
    labels = torch.arange(60) % 2
    images = (labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 6, 6).contiguous()
    data = ImageDataset(labels, 2, (1, 6, 6), images)
    return data, data


def register(algorithm: Algorithm[Any]) -> None:
    ALGORITHMS.register(algorithm.name, algorithm)


@pytest.fixture
def registered() -> Iterator[None]:
    registries: tuple[Registry[Any], ...] = (MODELS, DATASETS, DISTRIBUTIONS, ALGORITHMS)
    before = [set(registry) for registry in registries]
    MODELS.register("flat", ModelEntry(flat_model, cut="3"))
    DATASETS.register("stripes", DatasetEntry(load=stripes))
    linear = DistributionEntry(lambda how, clients, table: LinearPartitioner(clients))
    DISTRIBUTIONS.register("linear", linear)
    register(LOUDER)
    yield
    for registry, was in zip(registries, before, strict=True):
        for name in set(registry) - was:
            registry.remove(name)


def _task(context: Context) -> SplitTask:
    return build_task(RunConfig.from_run_config(context.run_config))


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_all_four_are_named_in_a_run_configuration(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "algorithm": "louder_cse_fsl",
        "model": "flat",
        "dataset": "stripes",
        "distribution": "linear",
        "num-server-rounds": 3,
        "loudness": 7,
        "learning-rate": 0.05,
        "server-learning-rate": 0.05,
        "results-dir": str(tmp_path),
    }
    nodes = MemoryGrid(build_client_app(_task), 3, run_config=config)
    main(nodes, Context(1, 0, {}, RecordDict(), config))
    summary = summary_of(run_directory(tmp_path))
    assert summary["completed"] is True
    assert summary["final_accuracy"] == 1.0
    assert heard[-9:] == [TYPE] * 9
    assert made[-1].loudness == 7
    assert (
        json.loads((run_directory(tmp_path) / "config.json").read_text(encoding="utf-8"))[
            "loudness"
        ]
        == 7
    )


@pytest.mark.usefixtures("registered")
def test_the_rest_of_the_package_knows_what_an_algorithm_declares() -> None:
    """Its keys with their checks, its formula, its style; nothing else has to be told."""
    with pytest.raises(ConfigError, match="loudness = -1: it must be at least 0"):
        RunConfig.from_run_config({"algorithm": "louder_cse_fsl", "loudness": -1})
    with pytest.raises(ConfigError, match="did you mean 'loudness'"):
        RunConfig.from_run_config({"algorithm": "louder_cse_fsl", "loudnes": 1})
    other = RunConfig.from_run_config({"algorithm": "fed_avg", "loudness": 3})
    assert other.unused_keys()["loudness"] == "algorithm"
    assert "loudness" not in other.to_run_config()
    mine = RunConfig.from_run_config({"algorithm": "louder_cse_fsl"})
    assert "align.interval" in mine.unused_keys()
    assert styles(["louder_cse_fsl"])["louder_cse_fsl"].colour == "#123456"
    assert place("louder_cse_fsl") > place("fsl_sage")
    values = {"model": "simple_conv", "loudness": 2**20}
    table, _ = cut_table(values, (1, 8, 8), 10, 1, 300)
    assert [column.header for column in table.columns][-1] == "Louder MiB"
    assert next(iter(table.columns[-1].cells)) == "1,000.0"


def test_an_algorithm_without_a_formula_cannot_choose_a_cut(registered: None) -> None:
    register(louder("silent", {}, round_bytes=None))
    config = RunConfig.from_run_config({"algorithm": "silent", "cut": "auto"})
    with pytest.raises(SplitError, match="does not know the bytes of 'silent'"):
        build_task(config)


@pytest.mark.usefixtures("registered")
def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(ValueError, match="algorithm 'fsl_sage' is registered already"):
        register(louder("fsl_sage", {}))
    with pytest.raises(ValueError, match=f"message type '{TYPE}' has a handler"):
        register(louder("other", {TYPE: train_shared_head}))
    with pytest.raises(ValueError, match="key 'loudness' is an option of louder_cse_fsl"):
        register(louder("other", {}, options=Whispering))
    assert "other" not in ALGORITHMS


@dataclass(frozen=True)
class Whispering(Options):
    loudness: int = setting(0, "how loudly", ge=0)


@dataclass(frozen=True)
class Greedy(Options):
    learning_rate: float = setting(0.5, "mine", ge=0.4)


class Bare(Options):
    loudness2: int = setting(1, "not a dataclass", ge=0)


@dataclass(frozen=True)
class Nothing(Options):
    loudness3: Any = setting(None, "of no type")  # noqa: RUF009


@pytest.mark.usefixtures("registered")
def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="Bare is no dataclass"):
        register(louder("other", {}, options=Bare))
    with pytest.raises(ValueError, match="'loudness3' has the default None"):
        register(louder("other", {}, options=Nothing))
    for message_type in ("query.describe", "evaluate.split"):
        with pytest.raises(ValueError, match="is the package's own"):
            register(louder("other", {message_type: louder_train}))
    register(louder("greedy", {}, options=Greedy))
    with pytest.raises(ConfigError, match="'learning-rate' belongs to every run"):
        RunConfig.from_run_config({})


@pytest.mark.parametrize("message_type", ["train", "train.a-b", "learn.this", "train.a.b"])
def test_a_message_type_that_flower_does_not_know_is_refused(message_type: str) -> None:
    with pytest.raises(ValueError, match="'train', 'evaluate' or 'query', a dot"):
        register(louder("other", {message_type: louder_train}))
