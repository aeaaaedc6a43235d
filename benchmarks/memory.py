"""Measure the memory of a client, for each algorithm.

    python -m benchmarks.memory

One client with 5,000 images of 32×32, ResNet-18 cut at layer3, batches of 256, q = 5, two
rounds in the simulation. The result is the peak of the client's process minus the peak of the
same process when it trains simple_conv on digits (Python, torch, Ray and Flower).
"""

import tempfile
from pathlib import Path

import psutil

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.cpus import usable_cpus
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate

from .round import random_images
from .watch import ProcessWatch


def client_peak(processes: list[psutil.Process]) -> int:
    """Return the highest memory peak of the actors among some processes, in bytes."""
    peaks = [0]
    for process in processes:
        try:
            if "ClientAppActor" in " ".join(process.cmdline()):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                peaks.append(int(status.split("VmHWM:")[1].split()[0]) * 1024)
        except (psutil.Error, OSError, IndexError):  # the process has ended
            continue
    return max(peaks)


def peak_of(settings: dict[str, object]) -> int:
    """Return the memory peak of a client's process, in bytes."""
    with tempfile.TemporaryDirectory() as results, ProcessWatch(client_peak) as watch:
        config = RunConfig.from_run_config(
            {
                "num-server-rounds": 2,
                "align.epochs": 1,
                "checkpoint-interval": 0,
                "results-dir": results,
                **settings,
            }
        )
        summary, _ = simulate(config, Federation(clients=1, cpus=1))
        if not summary["completed"]:
            raise SystemExit(f"the run failed: {summary}")
    return watch.peak


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        dataset = Path(name) / "random"
        random_images(dataset, 5000)
        setting: dict[str, object] = {
            "model": "resnet18",
            "dataset": str(dataset),
            "batch-size": 256,
            "server-update-interval": 5,
            "heron.perturbations": 1,
        }
        base = peak_of({"algorithm": "fed_avg"})
        print(f"simple_conv on digits: {base / 2**20:.0f} MiB ({usable_cpus()} cores)")
        for algorithm in ALGORITHMS:
            peak = peak_of({"algorithm": algorithm, **setting})
            print(f"{algorithm}: {(peak - base) / 2**20:.0f} MiB more than that", flush=True)


if __name__ == "__main__":
    main()
