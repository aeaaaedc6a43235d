"""A model, a dataset, a distribution and an algorithm from outside the package, in one run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from flwr_datasets.partitioner import LinearPartitioner
from torch import nn

from fsl_sage_flwr.algorithms import ALGORITHMS, common_arguments, register_algorithm
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.client_apps.handlers import HANDLERS, register_handlers
from fsl_sage_flwr.client_apps.shared_head import train_shared_head
from fsl_sage_flwr.data import (
    DATASETS,
    DISTRIBUTIONS,
    DatasetEntry,
    ImageDataset,
    register_dataset,
    register_distribution,
)
from fsl_sage_flwr.models import CATALOGUE, ModelEntry, register_model
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.strategies import CseFsl
from fsl_sage_flwr.task import SplitTask

from ..memory_grid import MemoryGrid
from .test_server_app import run_directory, summary_of

TYPE = "train.louder_cse_fsl"
heard: list[str] = []


class LouderCseFsl(CseFsl):
    """CSE-FSL whose clients say so."""

    message_type = TYPE


def louder_train(message: Any, context: Context, task: SplitTask) -> Any:
    heard.append(message.metadata.message_type)
    return train_shared_head(message, context, task)


def flat_model(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    width = image_shape[0] * image_shape[1] * image_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, num_classes))


def stripes() -> tuple[ImageDataset, ImageDataset]:
    labels = torch.arange(60) % 2
    images = (labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 6, 6).contiguous()
    data = ImageDataset(labels, 2, (1, 6, 6), images)
    return data, data


@pytest.fixture
def registered() -> Iterator[None]:
    tables: tuple[dict[str, Any], ...] = (
        CATALOGUE, DATASETS, DISTRIBUTIONS, ALGORITHMS, HANDLERS
    )  # fmt: skip
    before = [dict(table) for table in tables]
    register_model("flat", ModelEntry(flat_model, cut="3"))
    register_dataset("stripes", DatasetEntry(load=stripes))
    register_distribution("linear", lambda how, clients, table: LinearPartitioner(clients))
    register_algorithm(
        "louder_cse_fsl",
        lambda task, config: LouderCseFsl(task, **common_arguments(config)),
        {TYPE: louder_train},
    )
    yield
    for table, was in zip(tables, before, strict=True):
        table.clear()
        table.update(was)


def _task(context: Context) -> SplitTask:
    return build_task(RunConfig.from_run_config(context.run_config))


@pytest.mark.usefixtures("registered")
def test_all_four_are_named_in_a_run_configuration(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "algorithm": "louder_cse_fsl",
        "model": "flat",
        "dataset": "stripes",
        "distribution": "linear",
        "num-server-rounds": 3,
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


@pytest.mark.usefixtures("registered")
def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(ValueError, match="algorithm 'fsl_sage' is registered already"):
        register_algorithm("fsl_sage", lambda task, config: LouderCseFsl(task))
    with pytest.raises(ValueError, match=f"message type '{TYPE}' has a handler"):
        register_algorithm(
            "other", lambda task, config: LouderCseFsl(task), {TYPE: train_shared_head}
        )
    assert "other" not in ALGORITHMS


@pytest.mark.parametrize("message_type", ["train", "train.a-b", "learn.this", "train.a.b"])
def test_a_message_type_that_flower_does_not_know_is_refused(message_type: str) -> None:
    with pytest.raises(ValueError, match="'train', 'evaluate' or 'query', a dot"):
        register_handlers({message_type: louder_train})
