"""Make the small task with a model cut in three: tail and labels are the clients'."""

import copy
from functools import lru_cache
from typing import Any

from flwr.clientapp import ClientApp

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import SplitModel, split
from fsl_sage_flwr.strategies import SplitFedV1, SplitFedV2
from fsl_sage_flwr.task import SplitTask

from .memory_grid import MemoryGrid
from .tasks import CLIENTS, small_net, small_task

# BatchNorm and dropout on the server, a linear layer as the tail; and a tail with BatchNorm.
LINEAR, DEEP = ("block", "last.2"), ("norm", "block")


@lru_cache
def _cut_in_three(at: str, tail: str, dropout: float) -> SplitModel:
    net, example = small_net(dropout)
    return split(net, at, example, tail=tail)


def tail_task(cuts: tuple[str, str] = LINEAR, *, dropout: float = 0.2, **changes: Any) -> SplitTask:
    """Build the task; every call gives the same initial values."""
    model = copy.deepcopy(_cut_in_three(*cuts, dropout))
    return small_task(dropout=dropout, model=model, **changes)


def tail_app(cuts: tuple[str, str] = LINEAR, mods: Any = None, **changes: Any) -> ClientApp:
    return build_client_app(lambda context: tail_task(cuts, **changes), mods)


def tail_grid(
    clients: int = CLIENTS,
    cuts: tuple[str, str] = LINEAR,
    task_changes: dict[str, Any] | None = None,
    **options: Any,
) -> MemoryGrid:
    return MemoryGrid(tail_app(cuts, **(task_changes or {})), clients, **options)


def u_shaped_v1(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFedV1:
    return SplitFedV1(tail_task(**(task_changes or {})), **changes)


def u_shaped_v2(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFedV2:
    return SplitFedV2(tail_task(**(task_changes or {})), **changes)


# Factories of strategies whose clients hold the model's tail.
U_SHAPED = (u_shaped_v1, u_shaped_v2)
