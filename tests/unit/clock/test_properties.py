"""What holds for every schedule, number of clients, device and link."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.clock.devices import Device
from fsl_sage_flwr.clock.fleet import Fleet
from fsl_sage_flwr.clock.links import Link
from fsl_sage_flwr.clock.phases import KINDS, RoundTrips, from_plain, to_plain
from fsl_sage_flwr.clock.plan import plan
from fsl_sage_flwr.clock.simulate import BITS, Clock
from fsl_sage_flwr.clock.work import RoundWork
from fsl_sage_flwr.config.name_table import own_looks, own_schedules

from .rounds import FLOPS, round_work

SCHEDULES = own_schedules()
DOWN, UP = ("client_half", "auxiliary", "gradients", "other"), ("client_half", "smashed", "other")
# With one queue in the order of arrival a client that comes earlier may make others wait.
OWN_PACE = {
    name
    for name, schedule in SCHEDULES.items()
    if any(isinstance(phase, RoundTrips) and not phase.in_step for phase in schedule)
}


@st.composite
def rounds(draw: st.DrawFn, *, alike: bool = False) -> tuple[RoundWork, Fleet]:
    count = draw(st.integers(1, 4))

    def values(low: float, high: float) -> list[float]:
        number = st.floats(low, high, allow_subnormal=False)
        one = draw(number)
        return [one] * count if alike else [draw(number) for _ in range(count)]

    def whole(low: int, high: int) -> list[float]:
        return [float(round(value)) for value in values(low, high)]

    work = round_work(
        {kind: whole(0, 10_000_000) for kind in DOWN},
        {kind: whole(0, 10_000_000) for kind in UP},
        examples=whole(1, 70),
        new=draw(st.booleans()),
        local_epochs=draw(st.integers(1, 2)),
        held=np.array(whole(0, 600)),
        alignment_seconds=draw(st.sampled_from([0.0, 1.0])),
        config={"server-update-interval": draw(st.integers(1, 3)), "align.dataset-size": 500},
        flops=FLOPS,
    )
    link = Link(1.0, 1.0, latency=draw(st.floats(0, 2)), jitter=draw(st.sampled_from([0.0, 0.5])))
    own = {
        client: (Device(speed, 5.0), replace(link, down=down, up=up))
        for client, (speed, down, up) in enumerate(
            zip(values(1e6, 1e12), values(0.1, 1e3), values(0.1, 1e3), strict=True)
        )
    }
    return work, Fleet(Device(1e9), link, Device(draw(st.floats(1e7, 1e12)), 50.0), own=own)


def with_factor(fleet: Fleet, bandwidth: float = 1.0, latency: float = 1.0) -> Fleet:
    own = {
        client: (device, replace(link, down=link.down * bandwidth, up=link.up * bandwidth,
                                 latency=link.latency * latency))
        for client, (device, link) in fleet.own.items()
    }  # fmt: skip
    return replace(fleet, own=own)


def seconds(name: str, work: RoundWork, fleet: Fleet) -> float:
    return Clock(fleet).round_time(SCHEDULES[name], work).seconds


@pytest.mark.parametrize("name", SCHEDULES)
@given(data=st.data(), factor=st.floats(1.0, 100.0))
@settings(deadline=None, max_examples=40)
@pytest.mark.sample
def test_more_bandwidth_is_never_slower_and_more_latency_never_faster(
    name: str, data: st.DataObject, factor: float
) -> None:
    work, fleet = data.draw(rounds(alike=name in OWN_PACE))
    now = seconds(name, work, fleet)
    assert seconds(name, work, with_factor(fleet, bandwidth=factor)) <= now * (1 + 1e-9)
    assert seconds(name, work, with_factor(fleet, latency=factor)) >= now * (1 - 1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@given(drawn=rounds())
@settings(deadline=None, max_examples=40)
@pytest.mark.sample
def test_no_round_is_shorter_than_its_bytes_its_steps_or_the_servers(
    name: str, drawn: tuple[RoundWork, Fleet]
) -> None:
    work, fleet = drawn
    time = Clock(fleet).round_time(SCHEDULES[name], work)
    down, up = sum(work.down.values()), sum(work.up.values())
    links = [fleet.of(client)[1] for client in work.clients]
    on_air = [
        to * BITS / link.down + back * BITS / link.up
        for to, back, link in zip(down, up, links, strict=True)
    ]
    computing = sum(phase.client for phase in plan(SCHEDULES[name], work))
    steps = [
        flops / (fleet.of(client)[0].flops or 1.0)
        for client, flops in zip(work.clients, computing + np.zeros(len(links)), strict=True)
    ]
    least = max(a + b for a, b in zip(on_air, steps, strict=True))
    assert time.seconds >= max(least, time.serving) * (1 - 1e-9)
    # And nothing takes place twice at once.
    total = sum(on_air) + sum(steps) + time.serving
    messages = 2 * work.batches.sum() + 6 * len(links)
    if not fleet.link.jitter:
        assert time.seconds <= (total + messages * fleet.link.latency) * (1 + 1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@given(drawn=rounds())
@settings(deadline=None, max_examples=20)
@pytest.mark.sample
def test_a_round_has_one_time(name: str, drawn: tuple[RoundWork, Fleet]) -> None:
    work, fleet = drawn
    again = Clock(fleet).round_time(SCHEDULES[name], work)
    assert Clock(fleet).round_time(SCHEDULES[name], work) == again


@pytest.mark.parametrize("name", SCHEDULES)
@given(drawn=rounds())
@settings(deadline=None, max_examples=20)
@pytest.mark.sample
def test_every_byte_is_in_one_message(name: str, drawn: tuple[RoundWork, Fleet]) -> None:
    work, _ = drawn
    planned = plan(SCHEDULES[name], work)
    for direction in ("down", "up"):
        sent = sum(getattr(phase, direction) for phase in planned)
        assert np.allclose(sent, sum(getattr(work, direction).values())), direction


def test_every_algorithm_of_the_package_declares_its_order() -> None:
    assert list(SCHEDULES) == list(own_looks())


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_the_same_as_plain_data(name: str) -> None:
    plain = to_plain(SCHEDULES[name])
    assert from_plain(plain) == SCHEDULES[name]
    assert {phase for phase, _ in plain} <= set(KINDS)
