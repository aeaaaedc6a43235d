"""How a late reply is weighted and merged, and where there are none."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.rounds.asynchrony.asynchrony import Asynchrony
from fsl_sage_flwr.strategies import AsyncOptions

from ...memory_grid import MemoryGrid
from ...runs import cse_fsl, split_fed_v2, train
from ...tasks import CLIENTS, small_app
from .buffered_rounds import Nodes, after
from .strategy_tables import MAY_BE_LATE, STRATEGIES

numbers = st.floats(-100, 100, width=32)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"fraction_reply": 0.5}, "fraction-reply = 0.5: the buffer ends a round"),
        ({"min_train_nodes": 3}, "min-train-nodes = 3: a round ends after 2 replies"),
    ],
)
def test_settings_that_do_not_fit_a_buffer_are_refused(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        cse_fsl(asynchrony=after(), **settings)


def test_algorithms_and_grids_without_late_replies_refuse_a_buffer() -> None:
    with pytest.raises(ValueError, match="SplitFedV2 needs its clients in step"):
        split_fed_v2(asynchrony=after())
    assert split_fed_v2(asynchrony=AsyncOptions()).asynchrony is None
    strategy = cse_fsl(asynchrony=after())
    with pytest.raises(ValueError, match="simulation without a virtual clock"):
        train(strategy, MemoryGrid(small_app(), CLIENTS, simulated=True), 1)
    pooled = cse_fsl(asynchrony=after(late="weighted"), server_pool=True)
    with pytest.raises(ValueError, match=r"async\.late = 'weighted': with server-pool"):
        train(pooled, Nodes(), 1)


def test_an_algorithm_and_its_strategy_say_the_same() -> None:
    able = {name for name, algorithm in ALGORITHMS.items() if algorithm.replies_may_be_late}
    assert able == set(MAY_BE_LATE)
    for name, make in STRATEGIES.items():
        if name in ALGORITHMS:
            assert make().replies_may_be_late == (name in able), name


def test_weights_are_those_of_the_papers() -> None:
    fed_buff, flat = after(), after(staleness="constant")
    hinge = after(staleness="hinge", decay=10.0, grace=4)
    assert [fed_buff.weight(tau) for tau in (0, 3, 8)] == [1.0, 0.5, 1 / 3]
    assert [hinge.weight(tau) for tau in (0, 4, 5, 7)] == [1.0, 1.0, 1 / 11, 1 / 31]
    assert flat.weight(1000) == 1.0


@given(x=numbers, y=numbers, z=numbers, tau=st.integers(0, 9), mixing=st.floats(0.01, 1))
def test_a_merged_value_is_between_both_models_and_an_update_is_added(
    x: float, y: float, z: float, tau: int, mixing: float
) -> None:
    """Running statistics stay in between, so that no variance becomes negative."""
    options = after(mixing=mixing)
    late = Asynchrony(options)
    now, trained, start = ({"w": torch.tensor([v]), "var": torch.tensor([v])} for v in (x, y, z))
    busy: Any = type("Busy", (), {"version": 0, "sent": {"client_half": start}})()
    late.keep({7: busy})
    late.begin(tau)
    found = late.merged(7, "client_half", trained, now, {"w"})
    share = mixing * options.weight(tau)
    low, high = sorted((x, y))
    assert low - 1e-4 <= found["var"].item() <= high + 1e-4
    step = y - (z if tau else x)
    assert found["w"].item() == pytest.approx(x + share * step, abs=1e-3)


def test_values_that_are_equal_keep_their_bits_infinite_ones_too() -> None:
    late = Asynchrony(after(mixing=0.5))
    mask, count = torch.tensor([float("-inf"), 1.0]), torch.tensor([5])
    now = {"mask": mask, "count": count}
    trained = {"mask": mask.clone(), "count": torch.tensor([8])}
    found = late.merged(0, "client_half", trained, now, {"mask"})
    assert torch.equal(found["mask"], mask)
    assert torch.equal(found["count"], torch.tensor([6]))  # 6.5, to the even number
