"""Small runs that leave checkpoints with files beside them."""

from collections.abc import Callable
from pathlib import Path

from flwr.app import ArrayRecord

from fsl_sage_flwr import Recorder
from fsl_sage_flwr.splitting import AlignmentRecipe
from fsl_sage_flwr.strategies import FslSage, SplitFedV1, SplitStrategy

from ...memory_grid import MemoryGrid
from ...tasks import CLIENTS, client_of, small_app, small_batches, small_task

Make = Callable[..., SplitStrategy]


def fsl_sage(**changes: float) -> FslSage:
    recipe = AlignmentRecipe(1, 6)
    return FslSage(
        small_task(), server_update_interval=1, align_interval=2, recipe=recipe, **changes
    )


def split_fed(**changes: float) -> SplitFedV1:
    return SplitFedV1(small_task(), **changes)


def trained(make: Make, directory: Path, rounds: int, **changes: float) -> ArrayRecord:
    """Train; return the average. What the strategy held is let go."""
    strategy = make(keep_optimizer_state=make is split_fed, **changes)
    batches = list(small_batches(client_of(0), 9))
    latest = directory / "checkpoints" / "latest.pt"
    result = Recorder(strategy, directory, lambda: batches).train(
        MemoryGrid(small_app(), CLIENTS), rounds, resume=latest if latest.exists() else None
    )
    assert result.arrays is not None
    return result.arrays
