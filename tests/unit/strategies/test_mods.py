"""Flower's client mods around each algorithm's messages."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.clientapp.mod import arrays_size_mod, fixedclipping_mod, message_size_mod
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping

from fsl_sage_flwr.strategies import TrainingFailedError

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import assert_same, fed_avg, plain, train
from ...tasks import CLIENTS, small_app
from .strategy_tables import STRATEGIES


@pytest.mark.slow
@rows(
    "make",
    STRATEGIES.values(),
    lambda make: make in (STRATEGIES["sl_single_server"], STRATEGIES["fsl_sage"]),
    ids=STRATEGIES,
)
@pytest.mark.parametrize("mod", [arrays_size_mod, message_size_mod])
def test_mods_that_look_on_change_nothing(
    make: Callable[..., Any], mod: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ours, strategy = plain(make).after(2), make()
    nodes = MemoryGrid(small_app(mods=[mod]), CLIENTS)
    caplog.clear()
    with caplog.at_level("INFO", logger="flwr"):
        theirs = train(strategy, nodes, 2)
    assert_same(ours.arrays, theirs)
    assert_same(ours.state, strategy.state_dict())
    assert "bytes" in caplog.text


def clipped(strategy: Any, nodes: MemoryGrid, norm: float) -> dict[str, Any]:
    private = DifferentialPrivacyClientSideFixedClipping(strategy, 0.0, norm, CLIENTS)
    result = private.start(strategy.wrap_grid(nodes), strategy.initial_arrays(), num_rounds=1)
    return dict(result.arrays.to_torch_state_dict())


@pytest.mark.slow
def test_clients_of_fed_avg_clip_their_updates() -> None:
    start = fed_avg().initial_arrays().to_torch_state_dict()
    moved = {}
    for norm in (1e6, 1e-3):
        nodes = MemoryGrid(small_app(train_mods=[fixedclipping_mod]), CLIENTS)
        found = clipped(fed_avg(), nodes, norm)
        moved[norm] = max(float((found[n] - start[n]).abs().max()) for n in start if "weight" in n)
    assert moved[1e-3] <= 1e-3 < moved[1e6]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in STRATEGIES if not n.startswith("fed_avg")])
def test_clipping_on_the_clients_is_refused_where_it_cannot_be(name: str) -> None:
    nodes = MemoryGrid(small_app(train_mods=[fixedclipping_mod]), CLIENTS)
    with pytest.raises(TypeError, match=r"carry more; use DifferentialPrivacyServerSideFixed"):
        clipped(STRATEGIES[name](), nodes, 1.0)


def test_a_mod_that_keeps_nodes_from_saying_who_they_are_is_named() -> None:
    strategy = fed_avg()
    strategy.registry.registration_timeout = 0.0
    nodes = MemoryGrid(small_app(mods=[fixedclipping_mod]), CLIENTS)
    with pytest.raises(TrainingFailedError, match="node 1000: error 6: fixedclipping_mod expects"):
        train(strategy, nodes, 5)
