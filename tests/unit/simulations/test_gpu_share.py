import json
import subprocess

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.simulations.gpu_memory import GpuMemory
from fsl_sage_flwr.simulations.gpu_share import MARGIN, RAY_UNITS, automatic_share, fit
from fsl_sage_flwr.simulations.superlink import FlowerError

GIB = 2**30


@pytest.mark.slow
@given(
    client=st.integers(1, 40 * GIB),
    server=st.integers(0, 40 * GIB),
    free=st.lists(st.integers(1, 80 * GIB), min_size=1, max_size=4),
    clients=st.integers(1, 200),
    jobs=st.integers(1, 4),
)
@example(client=1006, server=0, free=[137454, 136814], clients=122, jobs=2)
@example(client=1, server=0, free=[80 * GIB], clients=20_000, jobs=1)
def test_clients_and_server_fit_and_no_more_would(client, server, free, clients, jobs):
    together = -(-jobs // len(free))
    room = MARGIN * (min(free) / together - server)
    try:
        share = fit(GpuMemory(client, server, free), clients, jobs).share
    except ConfigError:
        assert room < client
        return
    units = round(share * RAY_UNITS)
    assert units / RAY_UNITS == share > 0
    at_once = RAY_UNITS // units
    assert at_once * client <= room
    mine = max(1, len(free) // jobs)
    smaller = RAY_UNITS // (at_once + 1)  # the next share with which more run at once
    if at_once * mine < clients and smaller:
        assert RAY_UNITS // smaller * client > room


def test_what_it_chose_is_said():
    chosen = fit(GpuMemory(2 * GIB, GIB, [21 * GIB, 41 * GIB]), clients=100)
    assert chosen.share == 0.1111
    assert chosen.text == (
        "GPU share: 0.1111; a client takes 2,048.0 MiB, the server 1,024.0 MiB, and "
        "21,504.0 MiB are free on a GPU: 18 of 100 clients at a time on 2 GPUs"
    )


def test_few_clients_are_spread_over_all_gpus():
    assert fit(GpuMemory(GIB, GIB, [80 * GIB] * 2), clients=4).share == 0.5
    assert fit(GpuMemory(GIB, GIB, [80 * GIB] * 2), clients=4, jobs=2).share == 0.25


def test_a_client_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError) as error:
        fit(GpuMemory(8 * GIB, GIB, [8 * GIB]), clients=4)
    assert "a client takes 8,192.0 MiB" in str(error.value)
    assert "choose a smaller batch-size" in str(error.value)


@pytest.mark.parametrize(
    ("config", "gpus", "says"),
    [
        (RunConfig(device="cpu"), ["0"], "device = cpu"),
        (RunConfig(), [], "there is no GPU here"),
    ],
)
def test_without_a_gpu_it_says_so_and_goes_on(config, gpus, says):
    chosen = automatic_share(config, 4, gpus)
    assert chosen.share == 0
    assert says in chosen.text


@pytest.fixture
def measurement(monkeypatch):
    """Pretend to have two GPUs, and put an answer in the place of the measuring process."""
    calls = []

    def answer(status, out="", err=""):
        def run(command, **options):
            calls.append((command, options))
            return subprocess.CompletedProcess(command, status, out, err)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(subprocess, "run", run)
        return calls

    return answer


def test_the_measurement_sees_the_configuration_and_the_gpus(measurement):
    figures = {"client": GIB, "server": GIB, "free": [10 * GIB, 10 * GIB]}
    calls = measurement(0, "a library's word\n" + json.dumps(figures) + "\n")
    config = RunConfig(batch_size=64)
    assert automatic_share(config, 30, ["2", "5"]).share == 0.125
    ((command, options),) = calls
    assert command[-2:] == ["fsl_sage_flwr.simulations.gpu_memory", "30"]
    assert json.loads(options["input"]) == config.to_run_config()
    assert options["env"]["CUDA_VISIBLE_DEVICES"] == "2,5"


def test_a_failed_measurement_says_why(measurement):
    measurement(1, err="Traceback\ntorch.OutOfMemoryError: CUDA out of memory.\n")
    with pytest.raises(FlowerError, match="the measurement failed: torch"):
        automatic_share(RunConfig(), 4, ["0"])
