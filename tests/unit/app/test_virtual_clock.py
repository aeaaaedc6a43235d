"""The virtual clock in the run configuration."""

from pathlib import Path

import pytest

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.virtual_clock import budget_of, clock_of, grid_on_virtual_time
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.virtual_time_grid import VirtualTimeGrid
from fsl_sage_flwr.runs.budget import Budget
from fsl_sage_flwr.simulations.engine import choose_engine
from fsl_sage_flwr.simulations.federation import INLINE, RAY, Federation
from fsl_sage_flwr.strategies import AsyncOptions

from ...memory_grid import MemoryGrid
from ...tasks import small_app


def config(**keys: object) -> RunConfig:
    return RunConfig.from_run_config({key.replace("__", "."): v for key, v in keys.items()})


def test_without_a_device_there_is_no_clock() -> None:
    plain = config()
    assert clock_of(plain) is None
    assert plain.unused_keys()["clock.link"] == "clock.device"
    nodes = InlineGrid(small_app(), 2)
    assert grid_on_virtual_time(nodes, plain) is nodes
    assert "clock.link" not in config(clock__device="pi5").unused_keys()


def test_keys_of_late_replies_without_effect_are_listed() -> None:
    assert config().unused_keys()["async.late"] == "async.buffer"
    unused = config(async__buffer=2).unused_keys()
    assert [key for key in unused if key.startswith("async.")] == ["async.grace"]
    unused = config(async__buffer=2, async__staleness="constant").unused_keys()
    assert unused["async.decay"] == unused["async.grace"] == "async.staleness"
    assert config().strategy_settings()["asynchrony"] is None
    assert config(async__buffer=2).strategy_settings()["asynchrony"] == AsyncOptions(buffer=2)


def test_devices_and_links_are_those_of_the_keys(tmp_path: Path) -> None:
    table = tmp_path / "c.csv"
    table.write_text("client,factor\n1,20\n", encoding="utf-8")
    clock = clock_of(config(clock__device="pi5", clock__link="10/2@50", clock__clients=str(table)))
    assert clock is not None
    assert (clock.fleet.link.up, clock.fleet.server.watts, clock.fleet.seed) == (2.0, 700.0, 200)
    assert clock.fleet.of(1)[0].factor == 20.0
    assert budget_of(config(stop__accuracy=0.9)) == Budget(accuracy=0.9)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"clock__device": "gpu"}, "clock.device = 'gpu': give jetson, pi5"),
        ({"clock__device": "measured"}, "measured seconds differ from run to run"),
        ({"clock__link": "lan"}, "clock.link = 'lan': give fibre"),
        ({"stop__hours": 1.0}, "stop.hours = 1.0: it needs the virtual clock; set clock.device"),
        ({"clock__replies": True}, "clock.replies = True: it needs the virtual clock"),
        ({"clock__device": "pi5", "clock__presence": "x.csv"}, "set clock.replies = true"),
        ({"async__buffer": 2, "algorithm": "sl_single_server"}, "choose of fed_avg, cse_fsl"),
        ({"async__buffer": 2, "fraction-reply": 0.5}, "fraction-reply = 0.5: the buffer ends"),
        ({"async__buffer": 2, "min-train-nodes": 3}, "min-train-nodes = 3: a round ends after 2"),
        (
            {"async__buffer": 2, "robust__aggregation": "krum"},
            "robust.aggregation needs 5 replies in a round",
        ),
        (
            {"async__buffer": 2, "async__late": "weighted", "server-pool": True},
            "async.late = 'weighted': with server-pool",
        ),
        (
            {"async__buffer": 2, "async__generate": 4, "algorithm": "fed_avg"},
            "async.generate = 4: clients of fed_avg send no smashed data",
        ),
        ({"async__staleness": "linear"}, "constant, polynomial, hinge"),
    ],
)
def test_a_wrong_key_is_refused_in_one_line(keys: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config(**keys)


def test_what_only_the_files_show_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"clock.clients = 'no.csv': no.csv: cannot be read"):
        clock_of(config(clock__device="pi5", clock__clients="no.csv"))
    with pytest.raises(ConfigError, match="the power of a client's device is unknown"):
        clock_of(config(clock__device="phone", stop__kilojoules=1.0))
    driven = config(clock__device="pi5", clock__replies=True, clock__presence="no.csv")
    with pytest.raises(ConfigError, match=r"clock.presence = 'no.csv': no.csv: cannot be read"):
        grid_on_virtual_time(InlineGrid(small_app(), 2), driven)


def test_replies_by_the_clock_are_for_nodes_in_this_process() -> None:
    driven = config(clock__device="pi5", clock__replies=True)
    assert isinstance(grid_on_virtual_time(InlineGrid(small_app(), 2), driven), VirtualTimeGrid)
    wrapped = grid_on_virtual_time(MemoryGrid(small_app(), 2), driven)
    with pytest.raises(ConfigError, match="give --engine inline"):
        grid_on_virtual_time(wrapped, driven)
    federation = Federation(4)
    late = config(async__buffer=2)
    with pytest.raises(ConfigError, match="a simulation needs a virtual clock"):
        choose_engine("auto", late, federation, [])
    with pytest.raises(ConfigError, match="a simulation needs a virtual clock"):
        grid_on_virtual_time(InlineGrid(small_app(), 2), late)
    deployed = MemoryGrid(small_app(), 2)
    assert grid_on_virtual_time(deployed, late) is deployed
    with pytest.raises(ConfigError, match="with --cpus: Ray's clients run by the machine's clock"):
        choose_engine("auto", driven, federation, ["--cpus"])
    assert choose_engine("auto", driven, federation, []).name == INLINE
    with pytest.raises(ConfigError, match="give --engine inline"):
        choose_engine(RAY, driven, federation, [])
