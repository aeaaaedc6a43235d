"""Run a strategy on a MemoryGrid, and compare runs bit for bit."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from torch import Tensor

from fsl_sage_flwr.splitting import AlignmentRecipe
from fsl_sage_flwr.strategies import (
    Ampere,
    CseFsl,
    CycleSl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    MuSplitFed,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
    SplitStrategy,
)
from fsl_sage_flwr.task import TrainBatches

from .memory_grid import MemoryGrid
from .tails import U_SHAPED, tail_app
from .tasks import CLIENTS, few_batches, small_app, small_task

ROUNDS = 3  # of a plain run
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


def mu_splitfed(task_changes: dict[str, Any] | None = None, **changes: Any) -> MuSplitFed:
    return MuSplitFed(small_task(**(task_changes or {})), **{"server_steps": 2, **changes})


def split_frozen(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFrozen:
    return SplitFrozen(small_task(**(task_changes or {})), **changes)


def fed_avg(task_changes: dict[str, Any] | None = None, **changes: Any) -> FullModelFedAvg:
    return FullModelFedAvg(small_task(**(task_changes or {})), **changes)


def split_fed_v1(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFedV1:
    return SplitFedV1(small_task(**(task_changes or {})), **changes)


def split_fed_v2(task_changes: dict[str, Any] | None = None, **changes: Any) -> SplitFedV2:
    return SplitFedV2(small_task(**(task_changes or {})), **changes)


def cycle_sl(task_changes: dict[str, Any] | None = None, **changes: Any) -> CycleSl:
    return CycleSl(small_task(**(task_changes or {})), **changes)


def ampere(task_changes: dict[str, Any] | None = None, **changes: Any) -> Ampere:
    return Ampere(small_task(**(task_changes or {})), **{"client_rounds": 2, **changes})


def grid(
    num_nodes: int = CLIENTS,
    *,
    dropout: float = 0.2,
    batches: TrainBatches = few_batches,
    **changes: Any,
) -> MemoryGrid:
    return MemoryGrid(small_app(dropout=dropout, train_batches=batches), num_nodes, **changes)


def grid_for(
    make: Callable[..., SplitStrategy],
    num_nodes: int = CLIENTS,
    *,
    batches: TrainBatches = few_batches,
    **changes: Any,
) -> MemoryGrid:
    """Return the nodes for a factory's strategy: with the model's tail where clients hold it."""
    return MemoryGrid(app_for(make, train_batches=batches), num_nodes, **changes)


def app_for(make: Callable[..., SplitStrategy], **changes: Any) -> ClientApp:
    """Return their ClientApp."""
    return (tail_app if getattr(make, "func", make) in U_SHAPED else small_app)(**changes)


def train(
    strategy: SplitStrategy, grid: MemoryGrid, rounds: int, arrays: ArrayRecord | None = None
) -> ArrayRecord:
    """Train; return the client half at the end."""
    initial = arrays or strategy.initial_arrays()
    result = strategy.start(grid, initial, num_rounds=rounds)
    return result.arrays or initial


@dataclass(frozen=True)
class Left:
    """Copies of what a round has left."""

    arrays: dict[str, Tensor]
    state: dict[str, Any]  # the whole state_dict, with the ledger
    summary: Any
    clients: list[Any]  # what an operator sees of each in that round
    total: int  # bytes so far
    messages: int  # sent so far

    @property
    def server(self) -> dict[str, Any]:
        """What the strategy has on the server; bytes and uploads so far are not of it."""
        return server_state(self.state)


@dataclass(frozen=True)
class Past:
    """A run that is over, and what each of its rounds has left."""

    strategy: Any
    nodes: MemoryGrid
    rounds: tuple[Left, ...]

    def after(self, number: int) -> Left:
        """Return copies of the results of the first rounds."""
        return copy.deepcopy(self.rounds[number - 1])


def server_state(state: SplitStrategy | dict[str, Any]) -> dict[str, Any]:
    """Return a strategy's state without what counts messages and faults: nothing takes it back."""
    found = state if isinstance(state, dict) else state.state_dict()
    counts = ("ledger", "pauses", "sample_uploads")
    return {key: value for key, value in found.items() if key not in counts}


def watched(
    strategy: SplitStrategy, grid: Grid, rounds: int, *, nodes: MemoryGrid | None = None
) -> Past:
    """Train, and copy what each round leaves; ``nodes`` are those that a Grid is around."""
    found = []
    inside = grid if nodes is None else nodes
    assert isinstance(inside, MemoryGrid)

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            left = Left(
                dict(arrays.to_torch_state_dict()),
                strategy.state_dict(),
                strategy.last_round,
                strategy.client_rounds(),
                strategy.ledger.total,
                len(inside.types),
            )
            found.append(copy.deepcopy(left))

    strategy.start(grid, strategy.initial_arrays(), num_rounds=rounds, evaluate_fn=each_round)
    return Past(strategy, inside, tuple(found))


@cache
def plain(make: Callable[..., SplitStrategy]) -> Past:
    """Three rounds in which nothing happens: what other runs are compared with.

    Once per process, so look at it and leave it as it is. To be called before a test makes a
    separate grid: the last one made is the run that Flower's runtime is in.
    """
    return watched(make(), grid_for(make), ROUNDS)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return every leaf of a state_dict by its path."""
    if isinstance(value, Mapping) and not isinstance(value, ArrayRecord):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif isinstance(value, ArrayRecord):
        items = value.to_torch_state_dict().items()
    else:
        return {prefix: value}
    return {k: v for key, item in items for k, v in flat(item, f"{prefix}/{key}").items()}


def assert_same(left: Any, right: Any) -> None:
    """Fail on the first leaf that differs in a bit; on which device a tensor is does not matter."""
    ours, theirs = flat(left), flat(right)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        if isinstance(value, Tensor):
            assert torch.equal(value.cpu(), theirs[path].cpu()), path
        else:
            assert value == theirs[path], path
