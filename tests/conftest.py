"""Integration tests run only when asked for: ``pytest -m integration``."""

import os
import signal
from collections.abc import Iterator

import datasets
import pytest
import torch

from fsl_sage_flwr.client_apps.client_state import CACHE_VARIABLE
from fsl_sage_flwr.client_apps.split_fed import live_forwards
from fsl_sage_flwr.client_apps.task_cache import forget_tasks
from fsl_sage_flwr.data import load_images, load_own_images

torch.set_num_threads(1)  # the tensors of unit tests are too small for two


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason="minutes long: pytest -m integration")
    for item in items:
        if "integration" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep files of nodes out of the user's cache."""
    os.environ[CACHE_VARIABLE] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def no_memory_of_other_tests() -> None:
    """Start with no task and no live graph of another test's."""
    forget_tasks()
    live_forwards.clear()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt this process and those that it starts.

    A job that a shell without job control starts in the background (``nohup pytest &``) ignores
    it, and so do its children.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write 240 of the digits as a local dataset, where it is not tested how they train."""
    directory = tmp_path_factory.mktemp("few") / "digits"
    (directory / "data").mkdir(parents=True)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    images, labels = load_images("digits")[0].decode(list(range(240)))
    for split, rows in (("train", slice(0, 200)), ("test", slice(200, 240))):
        table = {"image": list(images[rows, 0].numpy()), "label": labels[rows].tolist()}
        path = directory / "data" / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(table, features=features).to_parquet(str(path))
    return str(directory)


@pytest.fixture
def own_datasets(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Read datasets into a cache of this test's, and nothing from the hub."""
    cache = tmp_path_factory.mktemp("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    load_images.cache_clear()
    load_own_images.cache_clear()
    yield
    load_images.cache_clear()
    load_own_images.cache_clear()
