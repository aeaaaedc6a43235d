"""The registered names by kind, each with the package that registered it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .. import algorithms as _algorithms_of_the_package  # noqa: F401 - registers them
from .. import tasks as _tasks_of_the_package  # noqa: F401 - registers them
from ..algorithm_registry import ALGORITHMS
from ..clock.phases import Schedule
from ..compression import CODECS
from ..config.name_table import OWN, AlgorithmLook, KnownName
from ..data import DATASETS, DISTRIBUTIONS
from ..models import MODELS
from ..runs.trackers import TRACKERS
from ..task_registry import TASKS


def source_of(made_by: Any) -> str:
    """Return the package of a function or class."""
    while isinstance(made_by, partial):
        made_by = made_by.func
    top = str(made_by.__module__).partition(".")[0]
    return OWN if top == "fsl_sage_flwr" else top


def _models() -> Iterator[KnownName]:
    for name, entry in MODELS.items():
        yield KnownName(name, f"cut at {entry.cut}", source_of(entry.build))


def _datasets() -> Iterator[KnownName]:
    for name, entry in DATASETS.items():
        what = f"on the hub: {entry.hub_name}" if entry.load is None else "made by a function"
        yield KnownName(name, what, OWN if entry.load is None else source_of(entry.load))


def _distributions() -> Iterator[KnownName]:
    for name, entry in DISTRIBUTIONS.items():
        yield KnownName(name, "", source_of(entry.rows or entry.factory))


def _algorithms() -> Iterator[KnownName]:
    for name, algorithm in ALGORITHMS.items():
        yield KnownName(name, algorithm.label, source_of(algorithm.strategy))


def _codecs() -> Iterator[KnownName]:
    for name, codec in CODECS.items():
        yield KnownName(
            name, f"{codec.bits.activations:g} bits an activation", source_of(type(codec))
        )


def _tasks() -> Iterator[KnownName]:
    for name, kind in TASKS.items():
        yield KnownName(name, "", source_of(kind.build))


def _trackers() -> Iterator[KnownName]:
    for name, entry in TRACKERS.items():
        needs = f"needs the package {entry.package}" if entry.package else ""
        yield KnownName(name, needs, source_of(entry.begin))


def algorithm_looks() -> dict[str, AlgorithmLook]:
    """Return label and line of each registered algorithm."""
    return {name: AlgorithmLook(a.label, a.style) for name, a in ALGORITHMS.items()}


def algorithm_schedules() -> dict[str, Schedule]:
    """Return the order of a round of each registered algorithm that declares one."""
    return {name: a.schedule for name, a in ALGORITHMS.items() if a.schedule is not None}


NAMES: dict[str, Callable[[], Iterator[KnownName]]] = {
    "models": _models,
    "datasets": _datasets,
    "distributions": _distributions,
    "algorithms": _algorithms,
    "codecs": _codecs,
    "tasks": _tasks,
    "trackers": _trackers,
}
