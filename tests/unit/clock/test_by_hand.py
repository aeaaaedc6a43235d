"""Seconds and joules of a round, added up by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fsl_sage_flwr.clock.devices import Device
from fsl_sage_flwr.clock.links import Link
from fsl_sage_flwr.clock.phases import Down, Pool, RoundTrips, Serve, Steps, Up
from fsl_sage_flwr.clock.plan import plan
from fsl_sage_flwr.clock.simulate import Clock
from fsl_sage_flwr.clock.work import RoundWork
from fsl_sage_flwr.config.name_table import own_schedules

from .rounds import DEVICE, FLOPS, LINK, MB, SERVER, fleet, round_work

SCHEDULES = own_schedules()
EMPTY = 0.05  # seconds of a message without bytes
HALF = {"client_half": [MB]}


def test_one_client_downloads_computes_and_uploads() -> None:
    work = round_work(HALF, HALF)
    time = Clock(fleet()).round_time((Down(), Steps(client=3), Up()), work)
    computing = 20 * 3 * 1e6 / 1e8
    assert time.computing == pytest.approx(computing)
    assert time.sending == pytest.approx(EMPTY + 1.0 + EMPTY + 2.0)
    assert time.seconds == pytest.approx(time.computing + time.sending)
    assert time.waiting == pytest.approx(0.0)
    # Power while computing, joules per byte, and the radio's power while bytes are on the air.
    assert time.client_joules == pytest.approx(10 * computing + 1.0 + 2.0 + 0.5 * 3.0)
    assert time.serving == time.server_joules == 0.0


def test_the_server_takes_uploads_ascending_by_client_and_each_once_it_is_there() -> None:
    schedule = (Up(), Serve())
    # Client 1 has its megabyte there after 2.05 s, client 0 after 4.05 s.
    work = round_work({}, {"smashed": [2 * MB, MB]}, examples=[20, 20])
    time = Clock(fleet()).round_time(schedule, work)
    serving = 20 * 3 * 2e6 / 1e9
    assert time.seconds == pytest.approx(4.05 + 2 * serving)
    assert time.serving == pytest.approx(2 * serving)
    assert time.server_joules == pytest.approx(100 * 2 * serving)
    # The other way round client 0 is served while client 1 still sends.
    work = round_work({}, {"smashed": [MB, 2 * MB]}, examples=[20, 20])
    assert Clock(fleet()).round_time(schedule, work).seconds == pytest.approx(4.05 + serving)


def test_a_pool_waits_for_all_clients() -> None:
    work = round_work({}, {"smashed": [MB, 2 * MB]}, examples=[20, 20])
    time = Clock(fleet()).round_time((Up(), Pool()), work)
    assert time.seconds == pytest.approx(4.05 + 2 * 20 * 3 * 2e6 / 1e9)


def exchanged(clients: int) -> dict[str, object]:
    return {
        "down": {"client_half": [MB] * clients, "gradients": [MB] * clients},
        "up": {"client_half": [MB] * clients, "smashed": [MB] * clients},
        "examples": [20.0] * clients,
    }


# Of one batch of ten: the forward pass, half a megabyte up, the server, half a megabyte down, and
# the backward pass.
FORWARD, THERE, SERVING, BACK, BACKWARD = 0.1, EMPTY + 1.0, 0.06, EMPTY + 0.5, 0.2
TRIP = FORWARD + THERE + SERVING + BACK + BACKWARD


@pytest.mark.parametrize("name", ["sl_multi_server", "sl_single_server"])
def test_one_client_exchanges_each_of_its_two_batches(name: str) -> None:
    time = Clock(fleet()).round_time(SCHEDULES[name], round_work(**exchanged(1)))  # type: ignore[arg-type]
    assert time.seconds == pytest.approx(EMPTY + 1.0 + 2 * TRIP + EMPTY + 2.0)
    assert time.waiting == pytest.approx(2 * SERVING)


def test_at_their_own_pace_two_clients_queue_for_the_server_once() -> None:
    time = Clock(fleet()).round_time(SCHEDULES["sl_multi_server"], round_work(**exchanged(2)))  # type: ignore[arg-type]
    # The second client's batch waits for the first's; from then on they alternate.
    assert time.seconds == pytest.approx(EMPTY + 1.0 + SERVING + 2 * TRIP + EMPTY + 2.0)


def test_in_step_two_clients_wait_for_all_steps_of_every_batch() -> None:
    time = Clock(fleet()).round_time(SCHEDULES["sl_single_server"], round_work(**exchanged(2)))  # type: ignore[arg-type]
    assert time.seconds == pytest.approx(EMPTY + 1.0 + 2 * (TRIP + SERVING) + EMPTY + 2.0)


def test_one_client_after_the_other() -> None:
    work = round_work(**exchanged(2))  # type: ignore[arg-type]
    work = replace(work, config={"splitfed.server-order": "client"})
    time = Clock(fleet()).round_time(SCHEDULES["sl_single_server"], work)
    alone = EMPTY + 1.0 + FORWARD + THERE + SERVING + (TRIP - BACK - BACKWARD) + BACK + BACKWARD
    assert time.seconds == pytest.approx(2 * alone + BACK + BACKWARD + EMPTY + 2.0)


def test_several_batches_in_one_message_save_their_latency() -> None:
    work = round_work(**exchanged(1))  # type: ignore[arg-type]
    schedule = SCHEDULES["sl_multi_server"]
    each = Clock(fleet()).round_time(schedule, work).seconds
    both = replace(work, config={"splitfed.batches-per-exchange": 2})
    assert Clock(fleet()).round_time(schedule, both).seconds == pytest.approx(each - 2 * EMPTY)


def test_a_tail_on_the_clients_costs_a_second_round_trip_per_batch() -> None:
    work = round_work(**exchanged(1))  # type: ignore[arg-type]
    schedule = SCHEDULES["sl_multi_server"]
    once = Clock(fleet()).round_time(schedule, work).seconds
    stay = replace(work, config={"labels": "client"})
    assert Clock(fleet()).round_time(schedule, stay).seconds == pytest.approx(once + 2 * 2 * EMPTY)


def test_answers_after_the_steps_on_all_samples() -> None:
    work = round_work(**exchanged(1))  # type: ignore[arg-type]
    phases = (RoundTrips(server=3, answer=2, in_step=True),)
    more = Clock(fleet()).round_time(phases, work).serving
    assert more == pytest.approx(5 / 3 * 2 * SERVING)


def test_a_new_client_of_fsl_sage_answers_a_probe_and_waits_for_its_alignment() -> None:
    work = round_work(
        {"client_half": [MB], "auxiliary": [MB]},
        {"client_half": [MB], "smashed": [MB]},
        new=True,
        alignment_seconds=1.0,
    )
    time = Clock(fleet()).round_time(SCHEDULES["fsl_sage"], work)
    probe = EMPTY + 1.0 + 10 * 1e6 / 1e8 + EMPTY + 1.0
    serving = 10 * 3 * 2e6 / 1e9
    aligning = 10 * (2 * 2e6 + 6 * 1e5 * 5) / 1e9
    training = EMPTY + 1.0 + 20 * (3 * 1e6 + 2 * 1e5) / 1e8 + EMPTY + 1.0 + 2.0
    assert time.seconds == pytest.approx(probe + serving + aligning + training + serving)
    assert time.waiting == pytest.approx(2 * serving + aligning)
    # Later it trains at once, and all its uploads are served.
    later = replace(work, is_new=~work.is_new, alignment_seconds=0.0)
    time = Clock(fleet()).round_time(SCHEDULES["fsl_sage"], later)
    assert time.seconds == pytest.approx(training + 1.0 + 1.0 + 2 * serving)


@pytest.mark.parametrize(("groups", "kept"), [(0, 12), (1, 3), (2, 6)])
def test_a_shared_head_is_aligned_on_the_samples_of_its_group(groups: int, kept: float) -> None:
    """Four clients with twenty samples each, of which a head keeps twelve."""
    config = {"align.dataset-size": 12, "align.epochs": 5, "auxiliary.groups": groups}
    work = round_work(
        {}, {}, examples=(20.0,) * 4, held=np.full(4, 20.0), config=config, alignment_seconds=1.0
    )
    (align,) = (part for part in plan(SCHEDULES["fsl_sage"], work) if part.align.any())
    assert align.align == pytest.approx(np.full(4, kept * (2 * 2e6 + 6 * 1e5 * 5)))


def test_only_every_q_th_batch_is_uploaded_and_served() -> None:
    work = round_work(HALF, {"smashed": [MB]}, examples=[50], config={"server-update-interval": 2})
    time = Clock(fleet()).round_time(SCHEDULES["cse_fsl"], work)
    assert time.serving == pytest.approx(30 * 3 * 2e6 / 1e9)  # three of five batches


@pytest.mark.parametrize(
    ("config", "passes"),
    [({}, 3), ({"server-steps": 4}, 12), ({"server-steps": 4, "server-pool": True}, 3 + 12)],
)
def test_uploads_are_served_several_times_or_pooled_after_a_trial(
    config: dict[str, Any], passes: int
) -> None:
    uploads = {"smashed": [MB]}
    work = round_work(HALF, uploads, examples=[50], config={"server-update-interval": 2} | config)
    time = Clock(fleet()).round_time(SCHEDULES["cse_fsl"], work)
    assert time.serving == pytest.approx(30 * passes * 2e6 / 1e9)


def test_a_slope_costs_two_forward_passes_after_two_a_step() -> None:
    config = {"server-steps": 5}
    time = Clock(fleet()).round_time(
        SCHEDULES["mu_splitfed"], round_work(HALF, HALF, config=config)
    )
    assert time.serving == pytest.approx(20 * (2 * 5 + 2) * 2e6 / 1e9)
    assert time.computing == pytest.approx(20 * 3 * 1e6 / 1e8)


def test_zeroth_order_steps_cost_two_forward_passes_a_direction() -> None:
    config = {"server-update-interval": 2, "heron.perturbations": 4}
    time = Clock(fleet()).round_time(SCHEDULES["heron_sfl"], round_work(HALF, HALF, config=config))
    assert time.computing == pytest.approx((20 * 4 * 2 * 1.1e6 + 10 * 1e6) / 1e8)


def test_clients_that_upload_once_then_have_nothing_to_do() -> None:
    first = round_work(HALF, {"smashed": [MB]}, new=True, local_epochs=3)
    time = Clock(fleet()).round_time(SCHEDULES["split_frozen"], first)
    pool = 3 * 20 * 3 * 2e6 / 1e9
    assert time.computing == pytest.approx(20 * 1e6 / 1e8)
    assert time.serving == pytest.approx(pool)
    later = replace(first, down={}, up={}, is_new=~first.is_new)
    time = Clock(fleet()).round_time(SCHEDULES["split_frozen"], later)
    assert (time.seconds, time.computing) == (pytest.approx(pool), 0.0)


def test_measured_seconds_are_divided_by_the_declared_passes_and_multiplied() -> None:
    slow = fleet(device=Device(None, factor=20.0), server=Device(None))
    work = round_work(HALF, {"smashed": [MB, MB]}, examples=[20, 60], flops=None,
                      client_seconds=0.4, server_seconds=0.8)  # fmt: skip
    work = replace(work, down={})
    time = Clock(slow).round_time(SCHEDULES["cse_fsl"], work)
    assert time.computing == pytest.approx(20 * 0.4 / 2)
    # Client 1 has three quarters of the samples.
    assert time.seconds == pytest.approx(20 * 0.3 + 2.05 + 0.6)
    assert math.isnan(time.client_joules)


def test_each_client_has_its_own_device_and_link() -> None:
    work = round_work({"client_half": [MB, MB]}, {}, examples=[20, 20])
    own = {1: (replace(DEVICE, factor=10.0), replace(LINK, down=80.0))}
    time = Clock(fleet(own=own)).round_time((Down(), Steps(client=3)), work)
    assert time.seconds == pytest.approx(EMPTY + 0.1 + 6.0)
    assert time.waiting == pytest.approx((EMPTY + 0.1 + 6.0 - (EMPTY + 1.0 + 0.6)) / 2)


def test_codecs_count_on_the_client_by_their_bytes() -> None:
    coding = {"down": {"client_half": 20.0}, "up": {"client_half": 40.0, "smashed": 10.0}}
    coded = replace(FLOPS, coding=coding)
    work = round_work(HALF, {"client_half": [MB], "smashed": [MB / 2]})
    schedule = SCHEDULES["cse_fsl"]
    plain = Clock(fleet()).round_time(schedule, work)
    time = Clock(fleet()).round_time(schedule, replace(work, flops=coded))
    seconds = (20 * MB + 40 * MB + 10 * MB / 2) / 1e8
    assert time.computing - plain.computing == pytest.approx(seconds)
    assert time.seconds - plain.seconds == pytest.approx(seconds)
    assert time.client_joules - plain.client_joules == pytest.approx(10 * seconds)
    # On measured seconds coding comes on top, as much slower as the device is.
    slow = fleet(device=Device(None, factor=2.0))
    plain = Clock(slow).round_time(schedule, work)
    time = Clock(slow).round_time(schedule, replace(work, flops=coded))
    share = 65 * MB / (20 * (3 * 1e6 + 3 * 1e5))
    assert plain.computing == pytest.approx(2.0)
    assert time.computing == pytest.approx(2.0 * (1 + share))


def test_codecs_count_in_exchanges_too() -> None:
    coding = {"down": {"gradients": 20.0}, "up": {"smashed": 10.0, "client_half": 40.0}}
    work = round_work(**exchanged(1))  # type: ignore[arg-type]
    coded = replace(work, flops=replace(FLOPS, coding=coding))
    for name in ("sl_multi_server", "sl_single_server"):
        plain = Clock(fleet()).round_time(SCHEDULES[name], work).seconds
        more = Clock(fleet()).round_time(SCHEDULES[name], coded).seconds - plain
        assert more == pytest.approx((20 + 10 + 40) * MB / 1e8)


def test_the_cost_of_a_message_counts_once_per_message_and_its_reply() -> None:
    costly = Clock(fleet(message_seconds=3.0, message_round_trips=5.0))
    extra = 3.0 + 4 * 2 * EMPTY  # its own seconds, and four further round trips

    def more(name: str, work: RoundWork) -> float:
        schedule = SCHEDULES[name]
        return (
            costly.round_time(schedule, work).seconds
            - Clock(fleet()).round_time(schedule, work).seconds
        )

    assert more("fed_avg", round_work(HALF, HALF)) == pytest.approx(extra)
    # Two batches: a message with the weights and one after each of them.
    exchanges = round_work(**exchanged(1))  # type: ignore[arg-type]
    assert more("sl_multi_server", exchanges) == pytest.approx(3 * extra)
    assert more("sl_single_server", exchanges) == pytest.approx(3 * extra)
    both = replace(exchanges, config={"splitfed.batches-per-exchange": 2})
    assert more("sl_multi_server", both) == pytest.approx(2 * extra)


def test_jitter_is_drawn_from_the_seed_and_the_round() -> None:
    work = round_work(HALF, HALF)
    link = Link(8.0, 4.0, latency=0.1, jitter=1.0)

    def seconds(seed: int, number: int = 1) -> float:
        clock = Clock(fleet(link=link, seed=seed))
        schedule = SCHEDULES["sl_multi_server"]
        return clock.round_time(schedule, replace(work, number=number)).seconds

    assert seconds(1) == seconds(1)
    assert len({seconds(1), seconds(2), seconds(1, number=2)}) == 3


def test_a_round_without_clients_takes_no_time() -> None:
    work = round_work({}, {}, examples=[])
    time = Clock(fleet()).round_time(SCHEDULES["fsl_sage"], work)
    assert time.seconds == time.computing == time.client_joules == 0.0
    assert SERVER.watts
