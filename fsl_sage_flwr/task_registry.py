"""The declaration of a kind of task, and the registry of kinds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from .algorithm_options import HeadOptions
from .classes import Classes
from .config import Check, Options, check_options
from .data import DataIdentity, Distribution
from .registries import Registry, renamed
from .task import Batch, SplitTask, TrainingArguments, Weights

OptionsT = TypeVar("OptionsT", bound=Options)

TestBatches = Callable[[], Iterable[Batch]]
AutoCut = Callable[[nn.Module, Tensor], str]


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """Keys of every run, as arguments from which a kind of task is built.

    Attributes
    ----------
    model, cut, dataset : str
        Values of the run configuration; the kind decides which are valid.
    tail : str or None
        First submodule of the part behind the server half, which clients hold so that labels stay
        with them; empty selects the kind's own, None no such part.
    data_path : str or None
        Directory of the node's own data, in place of a part of the dataset.
    parts_folder : Path or None
        Folder in which processes that serve clients of this run share decoded parts of the
        dataset; None shares nothing.
    auto_cut : callable
        From a model and an example to a cut, for ``cut = "auto"``.
    distribution : Distribution
        Division of the training split among the clients.
    validation_fraction : float
        Share of each client's examples that is kept out of training, at least 0.
    label_epsilon : float
        ε of the randomised response that draws a client's labels; 0 disables it. The server's
        labels are never changed.
    training : TrainingArguments
        Arguments of ``SplitTask``: optimizers, schedules, batch size, device, seed, and so on.
    heads : HeadOptions
        Settings of auxiliary heads.
    client_half_only : bool
        This client never runs the server half, so that the kind need not load it.
    prove : bool
        Whether to prove at length that the halves equal the model.
    """

    model: str
    cut: str
    tail: str | None
    dataset: str
    data_path: str | None
    parts_folder: Path | None
    auto_cut: AutoCut
    distribution: Distribution
    validation_fraction: float
    label_epsilon: float
    training: TrainingArguments
    heads: HeadOptions
    client_half_only: bool
    prove: bool

    @property
    def batch_size(self) -> int:
        """Batch size of the clients."""
        return self.training["batch_size"]

    @property
    def device(self) -> torch.device:
        """Device of this side."""
        return self.training["device"]

    @property
    def precision(self) -> str:
        """Precision of the halves' steps."""
        return self.training["precision"]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.training["seed"]


@dataclass(frozen=True)
class TrainingCost:
    """What determines the length of a pass over the training split.

    Attributes
    ----------
    samples : int
        Number of samples in the split.
    flops : int
        Floating-point operations of the forward pass of one sample.
    """

    samples: int
    flops: int


@dataclass(frozen=True)
class TaskKind(Generic[OptionsT]):
    """Declaration of a kind of task; the package's own app reads nothing else.

    Attributes
    ----------
    name : str
        Name in the run configuration.
    options : type
        Keys of the run configuration that belong to the kind.
    build : callable
        From settings and options to the task.
    test_batches : callable
        From settings and options to a function that iterates over the test split.
    checks : Mapping
        Checks of keys of every run whose valid values the kind decides: model, dataset.
    check : callable, optional
        From settings, options and the number of clients. It runs before a run starts and raises
        the errors of ``build`` that are known without a download or a model.
    evaluation_batch : int
        Samples per batch of the test split.
    finish : callable, optional
        From settings, options, the trained weights of both halves and the run's directory to
        further figures of the run's summary. It writes the results; by default both halves and the
        merged model as state_dicts.
    classes : callable, optional
        From a node's settings and options to the classes of its data. The server refuses data with
        other classes. None for data that have the run's classes by construction.
    randomises_labels : bool
        Whether ``build`` uses ``label_epsilon``; otherwise the key is refused.
    identify : callable, optional
        From settings, options and whether data may be downloaded to the identity of the data; None
        for absent data. A run resumes with the same data alone, on any machine.
    cost : callable, optional
        From settings and options to the cost of training; None for absent data. A kind without it
        counts as expensive.
    """

    name: str
    options: type[OptionsT]
    build: Callable[[TaskSettings, OptionsT], SplitTask]
    test_batches: Callable[[TaskSettings, OptionsT], TestBatches]
    checks: Mapping[str, Check] = field(default_factory=dict)
    check: Callable[[TaskSettings, OptionsT, int], None] | None = None
    evaluation_batch: int = 500
    finish: Callable[[TaskSettings, OptionsT, Weights, Path], Mapping[str, float]] | None = None
    classes: Callable[[TaskSettings, OptionsT], Classes | None] | None = None
    randomises_labels: bool = False
    identify: Callable[[TaskSettings, OptionsT, bool], DataIdentity | None] | None = None
    cost: Callable[[TaskSettings, OptionsT], TrainingCost | None] | None = None


def _check(name: str, kind: TaskKind[Any], others: Mapping[str, TaskKind[Any]]) -> None:
    """Refuse a kind whose name is another, or with a key that another kind declares differently."""
    if kind.name != name:
        raise ValueError(f"task {name!r} is named {kind.name!r}; register it under that name")
    check_options(name, kind.options, {key: other.options for key, other in others.items()})


TASKS = Registry[TaskKind[Any]]("task", TaskKind, _check)
"""Kinds of tasks by name: valid for ``task``."""


if not TYPE_CHECKING:  # a type checker would take any name for one that exists
    __getattr__ = renamed(register_task="TASKS.register(kind.name, kind)")
