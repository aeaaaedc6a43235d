"""What is measured on a GPU is run here on the CPU; the figures themselves need a GPU."""

import json
import subprocess
import sys

import pytest
import torch

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.config import settings_of
from fsl_sage_flwr.simulations.gpu_memory import Peaks, evaluation_batch, server_memory
from fsl_sage_flwr.simulations.gpu_share import automatic_share
from fsl_sage_flwr.simulations.memory_probe import probe_memory

from ...rows import rows

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.slow
@rows("algorithm", ALGORITHMS, lambda name: name in ("sl_multi_server", "fsl_sage"))
def test_a_rehearsal_trains_both_sides_with_the_algorithms_own_handlers(few_digits, algorithm):
    config = RunConfig.from_run_config(
        {"algorithm": algorithm, "dataset": few_digits, "batch-size": 10, "device": "cpu"}
    )
    task, calls = build_task(config), []

    def around(work):
        calls.append(work)
        return work()

    before = {name: t.clone() for name, t in task.model.merged_state_dict().items()}
    app = build_client_app(lambda context: build_task(config))
    strategy = probe_memory(config, task, app, 2, 4, around)
    assert strategy.last_round.failures == {}
    assert strategy.last_round.clients == 2
    assert len(calls) > 2  # beside the descriptions
    if algorithm != "fed_avg":  # its average is Flower's, and the server trains nothing
        server = task.model.server.state_dict()
        assert not all(torch.equal(before[name], server[name]) for name in server)
    if "align.interval" in settings_of(ALGORITHMS[algorithm].options):
        assert strategy.last_round.alignment_cosine is not None
    inputs, labels = evaluation_batch(task, 500)
    assert len(inputs) == len(labels) == 500
    assert strategy.evaluate(strategy.initial_arrays(), lambda: [(inputs, labels)]).loss > 0


@pytest.mark.parametrize(("clients", "expected"), [(1, 100), (2, 107), (16, 205), (100, 205)])
def test_the_server_holds_a_few_clients_at_a_time(clients, expected, monkeypatch):
    monkeypatch.setattr("fsl_sage_flwr.simulations.gpu_memory.MOST_AT_WORK", 16)
    one, two = Peaks(0, rest=100), Peaks(0, rest=107)
    assert server_memory(one, two, clients) == expected


@needs_gpu
@pytest.mark.slow
def test_measured_on_a_gpu():
    config = RunConfig(model="simple_conv")
    done = subprocess.run(
        [sys.executable, "-m", "fsl_sage_flwr.simulations.gpu_memory", "4"],
        input=json.dumps(config.to_run_config()), capture_output=True, text=True, check=True,
    encoding="utf-8")  # fmt: skip
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["free"][0] > figures["client"] > 4 * 2_000_000
    assert figures["server"] > 4 * 1_600_000
    gpus = [str(i) for i in range(torch.cuda.device_count())]
    assert 0 < automatic_share(config, 4, gpus).share <= 1
