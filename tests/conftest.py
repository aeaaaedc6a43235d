"""Select and isolate tests; ``pytest -m ""`` also runs slow and end-to-end ones.

torch, datasets and the package are imported in the fixtures, because the process that hands the
tests out to the workers reads this file too and does not need them.
"""

import gc
import itertools
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .still_time import still_time as still_time

SHARE_PROCESSES = {
    f"tests/e2e/test_{name}.py"
    for name in ("own_model", "proxy", "ray_cluster", "report_in_browser")
}

gc.disable()  # until all is imported: none of it is garbage
# A thread that waits for another spins, and every core has a worker of pytest: for it, and for
# the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # before the selection by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the rows of a ``sample`` test ``slow``, but the first that is not; sort the tests.

    End-to-end tests wait a lot, so each has a file of unit tests beside it: first those that take
    minutes, and the largest files. One worker runs all of a file; at the end the others would
    wait for it.
    """
    begun = set()
    for item in items:
        if item.get_closest_marker("sample") and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            if test in begun:
                item.add_marker("slow")
            begun.add(test)
    waiting = [item for item in items if item.get_closest_marker("e2e")]
    waiting.sort(key=lambda item: item.get_closest_marker("first") is None)
    others = [item for item in items if not item.get_closest_marker("e2e")]
    tests_in = Counter(item.path for item in others)
    others.sort(key=lambda item: (not item.get_closest_marker("first"), -tests_in[item.path]))
    files = [list(tests) for _, tests in itertools.groupby(others, lambda item: item.path)]
    pairs = itertools.zip_longest(([item] for item in waiting), files, fillvalue=[])
    items[:] = [item for pair in pairs for tests in pair for item in tests]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests with one worker: they share runs that each would do again.

    Only end-to-end tests are dealt one by one, unless their file shares processes.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            alone = file.startswith("tests/e2e/") and file not in SHARE_PROCESSES
            return nodeid if alone else file

    config.option.loadscopereorder = False  # the order of collection has a reason
    return Scheduling(config, log)


def _keep_files_in(directory: Path) -> None:
    from fsl_sage_flwr.nodes.client_folder import CACHE_VARIABLE

    os.environ[CACHE_VARIABLE] = str(directory)


@pytest.fixture(autouse=True, scope="session")
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep files of nodes out of the user's cache: a directory for each test.

    In one for all of them each new node would look for old files among more and more.
    """
    directory = tmp_path_factory.mktemp("cache")
    _keep_files_in(directory / "shared")  # fixtures of more than one test
    return (directory / f"{number}" for number in itertools.count())


@pytest.fixture(autouse=True, scope="session")
def forget() -> Callable[[], None]:
    """Return what makes this process forget the tasks and the graphs of another test."""
    import flwr.app  # noqa: F401 - sets the level of its log
    import torch

    from fsl_sage_flwr.client_apps.split_fed import live_forwards
    from fsl_sage_flwr.nodes.task_cache import forget_tasks
    from fsl_sage_flwr.rounds import threads
    from fsl_sage_flwr.rounds.metrics import evaluation

    torch.set_num_threads(1)  # a variable that was set before does not count
    evaluation.all_threads = threads.threads_as_before
    os.fsync = lambda descriptor: None  # no test pulls the plug
    logging.getLogger("flwr").setLevel(logging.WARNING)  # fifty lines a run

    def forget_all() -> None:
        forget_tasks()
        live_forwards.clear()

    return forget_all


@pytest.fixture(autouse=True)
def no_memory_of_other_tests(forget: Callable[[], None], own_caches: Iterator[Path]) -> None:
    """Start with no task, no live graph and no file of another test's."""
    forget()
    _keep_files_in(next(own_caches))


def pytest_collection_finish() -> None:
    """Let the garbage collector look less often: it took a fourteenth of all time."""
    gc.collect()
    gc.freeze()  # what has been imported stays
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGHUP interrupt this process and those that it starts.

    A job that a shell without job control starts in the background ignores SIGINT, a job of
    ``nohup`` SIGHUP, and so do their children.
    """
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write 120 of the digits as a local dataset, where it is not tested how they train."""
    import datasets

    from fsl_sage_flwr.data import load_images

    directory = tmp_path_factory.mktemp("few") / "digits"
    (directory / "data").mkdir(parents=True)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    images, labels = load_images("digits")[0].decode(list(range(120)))
    for split, rows in (("train", slice(0, 100)), ("test", slice(100, 120))):
        table = {"image": list(images[rows, 0].numpy()), "label": labels[rows].tolist()}
        path = directory / "data" / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(table, features=features).to_parquet(str(path))
    return str(directory)


@pytest.fixture
def own_datasets(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Read datasets into a cache of this test's, and nothing from the hub."""
    import datasets

    from fsl_sage_flwr.data import check_images, load_images, load_own_images

    cache = tmp_path_factory.mktemp("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    kept = (load_images, load_own_images, check_images)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()
