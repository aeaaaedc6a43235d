"""Settings of every run that belong to no group."""

import re
from dataclasses import dataclass
from typing import Any

import torch

from ..algorithm_registry import ALGORITHMS
from ..algorithms import DEFAULT
from ..config import Options, setting
from ..data import DISTRIBUTIONS
from ..runs.trackers import TRACKERS
from ..splitting.precision import PRECISIONS
from ..task_registry import TASKS
from ..tasks import DEFAULT_TASK


def _folder_name(value: Any) -> str | None:
    if re.fullmatch(r"[\w.-]*", str(value)) and value not in (".", ".."):
        return None
    return "it names a folder: use only letters, digits, '.', '_' and '-'"


def _directory(value: Any) -> str | None:
    return None if str(value).strip() else "name a directory; . is the current one"


def _device(value: Any) -> str | None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return "valid are auto, cpu, cuda, cuda:0, …"
    if str(value).startswith("cuda") and not torch.cuda.is_available():
        return "there is no CUDA device here; use auto or cpu"
    return None


@dataclass(frozen=True)
class CoreOptions(Options):
    """Settings of model, data, length and device of a run."""

    algorithm: str = setting(DEFAULT, "algorithm", choices=ALGORITHMS)
    task: str = setting(DEFAULT_TASK, "kind of task", choices=TASKS)
    model: str = setting(
        "simple_conv",
        "a name of `fsl-sage list models`; with `causal_lm` a name on the hub, or a directory",
    )
    cut: str = setting(
        "",
        "first submodule of the server half; empty uses the model's default, `auto` the cut "
        "with the fewest bytes per round within the budgets of `auto-cut`",
    )
    labels: str = setting(
        "server",
        "where labels are used: `server`, to which clients send them; `client`: they stay, and the "
        "model's tail with them",
        choices=("server", "client"),
    )
    tail: str = setting(
        "",
        "with `labels=client`: first submodule of the tail; empty uses the model's last layer",
    )
    client_max_params: int = setting(
        0,
        "largest client half with `cut=auto`; 0 is no limit",
        key="auto-cut.max-params",
        formerly=("client-max-params",),
        ge=0,
        unit="parameters",
    )
    client_max_flops: int = setting(
        0,
        "largest forward pass of a sample on a client with `cut=auto`; 0 is no limit",
        key="auto-cut.max-flops",
        formerly=("client-max-flops",),
        ge=0,
        unit="FLOPs",
    )
    dataset: str = setting(
        "digits", "a name of `fsl-sage list datasets`, or the path of a directory"
    )
    distribution: str = setting(
        "iid",
        "division among clients: `noniid_dirichlet` (equal sizes), `shards` (of one label), "
        "`natural` (by writer)",
        choices=DISTRIBUTIONS,
        renamed_values={"noniid": "shards"},
    )
    alpha: float = setting(1.0, "parameter of `noniid_dirichlet`; small is unequal", gt=0)
    shards_per_client: int = setting(2, "shards of each client with `shards`", ge=1)
    num_server_rounds: int = setting(
        25,
        "rounds",
        ge=1,
        unit="rounds",
        scope="course",
    )
    local_epochs: int = setting(1, "passes over a client's data in a round", ge=1, unit="epochs")
    batch_size: int = setting(32, "batch size", ge=2, unit="samples")
    validation_fraction: float = setting(
        0.1,
        "fraction of a client's examples kept out of training, with `fraction-evaluate`",
        gt=0,
        le=0.9,
    )
    max_communication_mib: float = setting(
        0.0,
        "communication after which the run ends, completed; 0 is no limit",
        formerly=("comm-threshold-mb",),
        ge=0,
        unit="MiB",
        scope="course",
    )
    checkpoint_interval: int = setting(
        1,
        "rounds from one checkpoint to the next; 0 writes none",
        ge=0,
        unit="rounds",
        scope="execution",
    )
    resume: str = setting(
        "",
        "checkpoint file to resume from; `fsl-sage run` also takes a run's directory, its name or "
        "`last`, and continues the run in place",
        scope="execution",
    )
    virtual_clients: int = setting(
        0,
        "virtual clients that share the nodes of a simulation, set by `fsl-sage run`; 0 gives each "
        "client a node",
        ge=0,
        unit="clients",
        scope="execution",
    )
    device: str = setting(
        "auto",
        "`cpu`, `cuda` or `cuda:1`; `auto`: CUDA if available",
        check=_device,
        scope="execution",
    )
    precision: str = setting(
        "fp32",
        "`bf16` autocasts the halves' steps; `tf32` rounds a GPU's operands",
        choices=PRECISIONS,
    )
    seed: int = setting(200, "seed of everything random", ge=0)
    results_dir: str = setting(
        "results",
        "directory of results",
        check=_directory,
        scope="execution",
    )
    run_name: str = setting(
        "",
        "name of the run's directory; empty names it by date, time and seed",
        check=_folder_name,
        scope="execution",
    )
    tracker: str = setting(
        "",
        "experiment tracker; empty uses none",
        choices=("", *TRACKERS),
        scope="execution",
    )
