"""Kinds of tasks: what a run can learn, and the table of those that are registered."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from .classes import Classes
from .config import Check, Options, check_options
from .data import DataIdentity, Distribution
from .strategies.common_options import HeadOptions
from .task import Batch, SplitTask, TrainingArguments, Weights

OptionsT = TypeVar("OptionsT", bound=Options)

TestBatches = Callable[[], Iterable[Batch]]
AutoCut = Callable[[nn.Module, Tensor], str]


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """Settings of every run in the form in which a kind of task needs them.

    Attributes
    ----------
    model, cut, dataset : str
        As in the run configuration; the kind decides which are valid.
    data_path : str or None
        Directory of the node's own data, in place of a part of the dataset.
    parts_folder : Path or None
        Where processes that serve clients of this run may share decoded parts of the dataset;
        None: nowhere.
    auto_cut : callable
        From a model and an example to a cut, for ``cut = "auto"``.
    distribution : Distribution
        Division of the training split among the clients.
    validation_fraction : float
        Fraction of each client's examples that is kept out of training; 0 for none.
    label_epsilon : float
        ε of the randomised response by which a client's labels are drawn; 0 leaves them as they
        are, as on the server in any case.
    training : TrainingArguments
        Arguments of ``SplitTask``: optimizers, schedules, batch size, device, seed, and so on.
    heads : HeadOptions
        Settings of auxiliary heads.
    client_half_only : bool
        This is a client that never runs the server half: a kind need not load it.
    prove : bool
        Whether to prove that the halves are the model, where that takes long.
    """

    model: str
    cut: str
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
class TaskKind(Generic[OptionsT]):
    """All that the package's own app needs to know of a kind of task.

    Attributes
    ----------
    name : str
        Its name in the run configuration.
    options : type
        Its keys of the run configuration.
    build : callable
        From settings and options to the task.
    test_batches : callable
        From settings and options to a function that iterates over the test split.
    checks : Mapping
        What is valid for keys of every run whose values the kind decides: model, dataset.
    check : callable, optional
        From settings, options and the number of clients; raises what ``build`` would raise, as
        far as it is known without a download or a model: it is called before a run starts.
    evaluation_batch : int
        Samples of a batch of the test split.
    finish : callable, optional
        From settings, options, the trained weights of both halves and the run's directory to
        more figures for the run's summary; it writes what the run leaves. By default that is
        both halves and the merged model as state_dicts.
    classes : callable, optional
        From a node's settings and options to the classes of its data, by which the server refuses
        data with other classes; None where they are the run's by construction.
    randomises_labels : bool
        Whether ``build`` heeds ``label_epsilon``; it is refused where it would not be.
    identify : callable, optional
        From settings, options and whether data may be downloaded to what identifies the data;
        None where they are not here. A run is resumed with the same data only, in any place.
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


TASKS: dict[str, TaskKind[Any]] = {}


def register_task(kind: TaskKind[Any]) -> None:
    """Add a kind of task, so that ``task = "name"`` means it and its keys are known.

    The server and all clients must import the module that calls this function.

    Raises
    ------
    ValueError
        The name is taken, or a key is declared otherwise by another kind.
    """
    if kind.name in TASKS:
        raise ValueError(f"task {kind.name!r} is registered already; choose another name")
    check_options(kind.name, kind.options, {other.name: other.options for other in TASKS.values()})
    TASKS[kind.name] = kind
