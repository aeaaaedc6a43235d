"""Run a strategy on a MemoryGrid, and compare runs bit for bit."""

from typing import Any

import torch
from flwr.app import ArrayRecord
from torch import Tensor

from fsl_sage_flwr.splitting import AlignmentRecipe
from fsl_sage_flwr.strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    SplitFedV1,
    SplitFedV2,
    SplitStrategy,
)

from .memory_grid import MemoryGrid
from .tasks import CLIENTS, small_app, small_task

RECIPE = AlignmentRecipe(epochs=2, batch_size=6)


def fsl_sage(task_changes: dict[str, Any] | None = None, **changes: Any) -> FslSage:
    settings: dict[str, Any] = {
        "server_update_interval": 2,
        "align_interval": 2,
        "align_dataset_size": 20,
        "recipe": RECIPE,
    }
    return FslSage(small_task(**(task_changes or {})), **{**settings, **changes})


def cse_fsl(task_changes: dict[str, Any] | None = None, **changes: Any) -> CseFsl:
    return CseFsl(small_task(**(task_changes or {})), **{"server_update_interval": 2, **changes})


def heron_sfl(task_changes: dict[str, Any] | None = None, **changes: Any) -> HeronSfl:
    return HeronSfl(small_task(**(task_changes or {})), **{"server_update_interval": 2, **changes})


def fed_avg(task_changes: dict[str, Any] | None = None, **changes: Any) -> FullModelFedAvg:
    return FullModelFedAvg(small_task(**(task_changes or {})), **changes)


def split_fed_v1(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFedV1:
    return SplitFedV1(small_task(**(task_changes or {})), **changes)


def split_fed_v2(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFedV2:
    return SplitFedV2(small_task(**(task_changes or {})), **changes)


def grid(num_nodes: int = CLIENTS, *, dropout: float = 0.2, **changes: Any) -> MemoryGrid:
    return MemoryGrid(small_app(dropout=dropout), num_nodes, **changes)


def train(
    strategy: SplitStrategy, grid: MemoryGrid, rounds: int, arrays: ArrayRecord | None = None
) -> ArrayRecord:
    """Train; return the client half at the end."""
    initial = arrays or strategy.initial_arrays()
    result = strategy.start(grid, initial, num_rounds=rounds)
    return result.arrays or initial


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return every leaf of a state_dict by its path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif isinstance(value, ArrayRecord):
        items = value.to_torch_state_dict().items()
    else:
        return {prefix: value}
    return {k: v for key, item in items for k, v in flat(item, f"{prefix}/{key}").items()}


def assert_same(left: Any, right: Any) -> None:
    """Fail on the first leaf that differs in a bit."""
    ours, theirs = flat(left), flat(right)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, theirs[path]), path
        else:
            assert value == theirs[path], path
