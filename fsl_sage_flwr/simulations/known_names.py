"""The registered names by kind, each with the package that registered it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from .. import algorithms as _algorithms_of_the_package  # noqa: F401 - registers them
from .. import tasks as _tasks_of_the_package  # noqa: F401 - registers them
from ..algorithm_registry import ALGORITHMS
from ..command_line.presets import EXPERIMENTS, PRESETS, preset_names
from ..compression import CODECS
from ..data import DATASETS, DISTRIBUTIONS
from ..models import MODELS
from ..runs.trackers import TRACKERS
from ..task_registry import TASKS

OWN = "fsl-sage-flwr"


class Known(NamedTuple):
    """A name that a run configuration can use.

    Attributes
    ----------
    name, what, source : str
        The name, a short description, and the package that registered it.
    """

    name: str
    what: str
    source: str


def source_of(made_by: Any) -> str:
    """Return the package of a function or class."""
    while isinstance(made_by, partial):
        made_by = made_by.func
    top = str(made_by.__module__).partition(".")[0]
    return OWN if top == "fsl_sage_flwr" else top


def _models() -> Iterator[Known]:
    for name, entry in MODELS.items():
        yield Known(name, f"cut at {entry.cut}", source_of(entry.build))


def _datasets() -> Iterator[Known]:
    for name, entry in DATASETS.items():
        what = f"on the hub: {entry.hub_name}" if entry.load is None else "made by a function"
        yield Known(name, what, OWN if entry.load is None else source_of(entry.load))


def _distributions() -> Iterator[Known]:
    for name, entry in DISTRIBUTIONS.items():
        yield Known(name, "", source_of(entry.factory))


def _algorithms() -> Iterator[Known]:
    for name, algorithm in ALGORITHMS.items():
        yield Known(name, algorithm.label, source_of(algorithm.strategy))


def _codecs() -> Iterator[Known]:
    for name, codec in CODECS.items():
        yield Known(name, f"{codec.bits.activations:g} bits an activation", source_of(type(codec)))


def _tasks() -> Iterator[Known]:
    for name, kind in TASKS.items():
        yield Known(name, "", source_of(kind.build))


def _trackers() -> Iterator[Known]:
    for name, entry in TRACKERS.items():
        needs = f"needs the package {entry.package}" if entry.package else ""
        yield Known(name, needs, source_of(entry.begin))


def _presets() -> Iterator[Known]:
    for folder, what in ((PRESETS, "a run"), (EXPERIMENTS, "a sweep")):
        for name in preset_names(folder):
            yield Known(name, what, OWN)


NAMES: dict[str, Callable[[], Iterator[Known]]] = {
    "models": _models,
    "datasets": _datasets,
    "distributions": _distributions,
    "algorithms": _algorithms,
    "codecs": _codecs,
    "tasks": _tasks,
    "trackers": _trackers,
    "presets": _presets,
}
