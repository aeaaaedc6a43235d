"""What is measured on a GPU is run here on the CPU; the figures themselves need a GPU."""

import json
import subprocess
import sys

import pytest
import torch

from fsl_sage_flwr.algorithms import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations.gpu_memory import train_one_round, train_server_half
from fsl_sage_flwr.simulations.gpu_share import automatic_share

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "somebodys_own"])
def test_the_arithmetic_trains_both_sides(few_digits, algorithm):
    config = RunConfig(algorithm=algorithm, dataset=few_digits, batch_size=20, device="cpu")
    task = build_task(config)
    client, server = (
        [p.detach().clone() for p in half.parameters()]
        for half in (task.model.client, task.model.server)
    )
    labels = train_one_round(task, config, clients=4)
    assert len(labels) == 10  # 200 digits, 4 clients: the last batch of 50 in twenties
    # SplitFed's client gets an answer of zeros: weight decay alone moves it.
    assert not all(
        torch.equal(old, new)
        for old, new in zip(client, task.model.client.parameters(), strict=True)
    )
    train_server_half(task, config, 4, labels)
    assert not all(
        torch.equal(old, new)
        for old, new in zip(server, task.model.server.parameters(), strict=True)
    )


@needs_gpu
@pytest.mark.integration
def test_measured_on_a_gpu():
    config = RunConfig(model="simple_conv")
    done = subprocess.run(
        [sys.executable, "-m", "fsl_sage_flwr.simulations.gpu_memory", "4"],
        input=json.dumps(config.to_run_config()), capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["free"][0] > figures["client"] > 4 * 2_000_000
    assert figures["server"] > 4 * 1_600_000
    gpus = [str(i) for i in range(torch.cuda.device_count())]
    assert 0 < automatic_share(config, 4, gpus).share <= 1
