"""Devices and links by name, as text, by a distribution and by a table."""

import math
import re
from pathlib import Path

import pytest

from fsl_sage_flwr.clock.devices import DEVICES, MEASURED, Device, device_of
from fsl_sage_flwr.clock.fleet import fleet_of
from fsl_sage_flwr.clock.links import LINKS, ClockError, Link, link_of

NAMED: dict[str, Link | Device] = {**LINKS, **DEVICES}


@pytest.mark.parametrize("name", sorted(NAMED.keys() - {MEASURED}))
def test_every_name_has_a_source_that_is_marked(name: str) -> None:
    assert re.search(r"\b(read|quoted|not checked)\b", NAMED[name].source)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("10", Link(10, 10)),
        ("10/2", Link(10, 2)),
        ("0.5/0.1@250", Link(0.5, 0.1, 0.25)),
        ("1e3@9", Link(1000, 1000, 0.009)),
        ("lte", LINKS["lte"]),
    ],
)
def test_a_link_as_text(text: str, link: Link) -> None:
    assert link_of(text) == link


@pytest.mark.parametrize("text", ["", "lan", "0", "-1", "10/0", "10@-3", "nan", "1@nan", "1/2/3"])
def test_another_text_is_no_link(text: str) -> None:
    with pytest.raises(ClockError, match="give fibre, wifi, lte, lora, or Mbit/s"):
        link_of(text)


def test_a_device_as_text() -> None:
    assert device_of("1e9") == Device(1e9)
    assert device_of("measured*20").factor == 20
    twice = device_of("pi5*2")
    assert (twice.flops, twice.factor, twice.watts) == (30.249e9, 2.0, 11.0)


@pytest.mark.parametrize("text", ["", "gpu", "0", "-1", "inf", "pi5*0", "pi5*x", "nan"])
def test_another_text_is_no_device(text: str) -> None:
    with pytest.raises(ClockError, match="give jetson, pi5, phone, server-gpu, measured, FLOP/s"):
        device_of(text)


def test_a_spread_is_drawn_for_each_client_from_the_seed() -> None:
    fleet = fleet_of("pi5", "lte", device_spread=2.0, link_spread=3.0, seed=1)
    logs = [math.log(fleet.of(client)[0].factor, 2) for client in range(400)]
    assert abs(sum(logs) / 400) < 0.2
    assert sum(abs(value) < 1 for value in logs) / 400 == pytest.approx(0.68, abs=0.08)
    device, link = fleet.of(3)
    assert fleet_of("pi5", "lte", device_spread=2.0, link_spread=3.0, seed=1).of(3) == (
        device,
        link,
    )
    assert fleet_of("pi5", "lte", device_spread=2.0, seed=2).of(3)[0] != device
    assert link.down / link.up == pytest.approx(13 / 6)
    assert fleet_of("pi5", "lte", seed=1).of(3) == (DEVICES["pi5"], LINKS["lte"])


def test_a_table_has_a_row_per_client(tmp_path: Path) -> None:
    table = tmp_path / "clients.csv"
    table.write_text(
        "client,device,link,factor,mbit_up,latency_ms\n0,phone,,,,\n2,,wifi,5,1.5,100\n",
        encoding="utf-8",
    )
    fleet = fleet_of("pi5", "lte", table=table)
    assert fleet.of(0) == (DEVICES["phone"], LINKS["lte"])
    assert fleet.of(1) == (DEVICES["pi5"], LINKS["lte"])
    device, link = fleet.of(2)
    assert (device.flops, device.factor) == (30.249e9, 5.0)
    assert (link.up, link.latency, link.down) == (1.5, 0.1, LINKS["wifi"].down)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device\npi5\n", "the column client and any of device"),
        ("client,color\n0,red\n", "not client, color"),
        ("client,flops\n0,many\n", "client 0: could not convert"),
        ("client,flops\n0,0\n", "flops = 0; give a number above 0"),
        ("client,mbit_up\n0,-1\n", "up = -1; give a number above 0"),
        ("client,link\n0,lan\n", "link 'lan' is not valid"),
    ],
)
def test_a_table_that_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    table = tmp_path / "clients.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ClockError, match=problem):
        fleet_of(table=table)
    with pytest.raises(ClockError, match="cannot be read"):
        fleet_of(table=tmp_path / "missing.csv")


def test_a_spread_below_one_is_refused() -> None:
    with pytest.raises(ClockError, match=r"link spread 0\.5: it must be at least 1"):
        fleet_of(link_spread=0.5)
