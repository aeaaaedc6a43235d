"""Compare the time of an FSL-SAGE round in the simulation with the same arithmetic in a loop.

    python -m benchmarks.round [--dataset DIR] [--precision fp32 bf16] [--rounds N]
                               [--gpus-per-client SHARE ...]

In each round of both, 10 clients share 50,000 images of 32×32, with ResNet-18 cut at layer3 and
batches of 256. There is a client step with the head's estimate for every batch, and a server step
for every 5th batch. The plain loop runs in one process with all threads and no messages. The
simulation has one client per core with one thread each; its first two rounds (start-up, probe,
alignment, decoding) are not counted. Evaluation on the test set is not counted in either.

The breakdown compares the core-seconds of a round (cores times wall-clock time) with the time
spent in the clients' steps, in the rest of their handlers, and in the server half's steps.

With ``--gpus-per-client`` both compute on the first GPU, once per share; the GPU's busy share of
the rounds' time is printed too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.byte_columns import BYTE_COLUMNS
from fsl_sage_flwr.cpus import usable_cpus
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate
from fsl_sage_flwr.splitting import estimated_step, server_step
from fsl_sage_flwr.task import ClientIdentity

from .gpu_watch import GpuWatch
from .watch import ProcessWatch, all_memory

CLIENTS = 10
EXAMPLES = 50_000


def settings(dataset: str, precision: str, rounds: int, results: Path) -> RunConfig:
    """Return the paper's setting, with alignment only in the first round."""
    return RunConfig.from_run_config(
        {
            "model": "resnet18",
            "dataset": dataset,
            "num-server-rounds": rounds,
            "batch-size": 256,
            "learning-rate": 1e-3,
            "server-learning-rate": 1e-3,
            "server-update-interval": 5,
            "align.interval": 1000,
            "align.epochs": 1,
            "checkpoint-interval": 0,
            "precision": precision,
            "results-dir": str(results),
        }
    )


def random_images(directory: Path, examples: int = EXAMPLES) -> None:
    """Write a local dataset of random images, with two images in the test split."""
    import datasets

    rng = np.random.default_rng(0)
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    for split, count in (("train", examples), ("test", 2)):
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        rows = {"img": list(pixels), "label": rng.integers(0, 10, count).tolist()}
        path = directory / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))


def plain_loop(config: RunConfig) -> None:
    """Do the arithmetic of one round twice in this process; print the second time's figures."""
    task = build_task(config)
    clients = [ClientIdentity(i, CLIENTS) for i in range(CLIENTS)]
    parts: dict[str, float] = {}
    for round_ in range(2):
        parts = {"data": 0.0, "client": 0.0, "server": 0.0}
        began, cpu = time.perf_counter(), time.process_time()
        server_optimizer = task.optimizer_of_server(task.model.server)
        start = {k: v.clone() for k, v in task.model.client.state_dict().items()}
        for client in clients:
            task.model.client.load_state_dict(start)
            optimizer = task.client_optimizer(list(task.model.client.parameters()))
            seed = derive_seed(config.seed, "batches", round_, client.partition_id, 0)
            before = time.perf_counter()
            for k, batch in enumerate(task.train_batches(client, seed)):
                ready = time.perf_counter()
                smashed = estimated_step(
                    task.model.client, task.head, optimizer, batch, task.objective, task.autocast
                )
                stepped = time.perf_counter()
                if k % config.to_run_config()["server-update-interval"] == 0:
                    server_step(
                        task.model.server, server_optimizer, smashed, batch[1],
                        task.objective, task.autocast,
                    )  # fmt: skip
                served = time.perf_counter()
                parts["data"] += ready - before
                parts["client"] += stepped - ready
                parts["server"] += served - stepped
                before = served
        if task.device.type == "cuda":
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": wall, "cpu": cpu, "peak": peak, **parts}))


def in_simulation(config: RunConfig, cores: int, gpu_share: float = 0.0) -> dict[str, Any]:
    """Run the simulation; return medians over all rounds after the second."""
    federation = Federation(
        clients=CLIENTS, cpus_per_client=1, cpus=cores, gpus_per_client=gpu_share
    )
    config = replace(config, run_name=f"{config.precision}-{gpu_share:g}")
    results = Path(config.results_dir)

    def counts() -> bool:
        written = next(results.rglob(f"{config.run_name}/history.csv"), None)
        rounds = len(written.read_text(encoding="utf-8").splitlines()) - 1 if written else 0
        return 2 <= rounds < config.num_server_rounds

    gpu = GpuWatch(counts) if gpu_share else None
    with ProcessWatch(all_memory) as memory, gpu or nullcontext():
        summary, path = simulate(config, federation)
    if not summary["completed"]:
        sys.exit(f"the simulation failed: {summary}")
    history = pd.read_csv(path / "history.csv").iloc[2:]
    kinds = list(BYTE_COLUMNS)
    return {
        "seconds": (history["seconds"] - history["evaluation_seconds"]).median(),
        "client": history["client_seconds"].median(),
        "steps": history["client_step_seconds"].median(),
        "server": history["server_seconds"].median(),
        "bytes": history[kinds].sum(axis=1).median(),
        "peak": memory.peak,
        **({"busy": gpu.busy, "looks": len(gpu.looks), "gpu peak": gpu.peak} if gpu else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dataset", help="directory of CIFAR-10 (random images)")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5, help="two are not counted")
    parser.add_argument("--gpus-per-client", type=float, nargs="+", default=[0.0])
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        plain_loop(RunConfig.from_run_config(json.loads(options.loop)))
        return
    cores = usable_cpus()
    print(f"{cores} cores, torch {torch.__version__}, {CLIENTS} clients, one thread each")
    with tempfile.TemporaryDirectory() as name:
        dataset = options.dataset
        if dataset is None:
            dataset = str(Path(name) / "random")
            random_images(Path(dataset))
        for precision in options.precision:
            config = settings(dataset, precision, options.rounds, Path(name) / "results")
            loop = run_loop(config, cores)
            report_loop(precision, loop, cores)
            for share in options.gpus_per_client:
                simulation = in_simulation(config, cores, share)
                report(share, loop, simulation, cores)


def run_loop(config: RunConfig, threads: int) -> dict[str, float]:
    """Run the plain loop in a separate process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.round", "--loop", json.dumps(config.to_run_config())],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def report_loop(precision: str, loop: dict[str, float], cores: int) -> None:
    """Print the plain loop's figures, before the simulation can take too long."""
    print(f"\n{precision}")
    print(
        f"  plain loop, {cores} threads: {loop['seconds']:.1f} s wall, {loop['cpu']:.1f} CPU-s "
        f"(data {loop['data']:.1f}, clients {loop['client']:.1f}, server {loop['server']:.1f}); "
        f"peak {loop['peak'] / 2**30:.2f} GiB",
        flush=True,
    )


def report(
    gpu_share: float, loop: dict[str, float], simulation: dict[str, Any], cores: int
) -> None:
    """Print the simulation's figures, and the ratio of its time to the loop's."""
    wall, steps, client = simulation["seconds"], simulation["steps"], simulation["client"]
    print(
        f"  simulation, {cores} cores, {gpu_share:g} GPUs a client: {wall:.1f} s wall; "
        f"{simulation['bytes'] / 2**20:.1f} MiB a round; "
        f"peak {simulation['peak'] / 2**30:.2f} GiB in all its processes"
    )
    share = (steps + simulation["server"]) / (cores * wall)
    print(
        f"    of its {cores * wall:.1f} core-seconds: clients' steps {steps:.1f}, the rest of "
        f"their handlers {client - steps:.1f}, server half {simulation['server']:.1f}; "
        f"arithmetic is {share:.0%} of it (above 100 % where processes take turns on a core)"
    )
    if "busy" in simulation:
        print(
            f"    GPU busy {simulation['busy']:.0%} of the rounds' time "
            f"({simulation['looks']} looks); {simulation['gpu peak'] / 2**30:.1f} GiB held"
        )
    print(f"  simulation / loop: {simulation['seconds'] / loop['seconds']:.2f}", flush=True)


if __name__ == "__main__":
    main()
