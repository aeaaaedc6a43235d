"""Measure time, memory and disk of many virtual clients.

    python -m benchmarks.scale [key=value …] [--clients 10 100 1000] [--model simple_conv]
        [--algorithms …] [--fraction 0.1] [--images 50] [--rounds 3] [--forget-optimizers]
        [--out FILE]

Random images of 32×32, equally many per client (5 with 10,000 clients). Every setting is a
separate run. The first round, which starts all processes and probes the clients of FSL-SAGE, is
listed apart from later ones; the last one writes the measured checkpoint. Seconds per client are
those of a later round (of the first if there is no other) divided by its clients, also without
forward and backward passes.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.runs.checkpoint_files import names_in
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate
from fsl_sage_flwr.simulations.settings import read_words

from .long_run import MIB, on_disk, resident
from .round import random_images
from .watch import ProcessWatch, all_memory

STEPS = ["client_step_seconds", "server_seconds", "alignment_seconds", "evaluation_seconds"]


def checkpoint_size(path: Path) -> tuple[float, float]:
    """Return MiB of a run's newest checkpoint, and of all that its checkpoints take."""
    latest = RunDirectory.checkpoint_of(path)
    tensors = sum((latest.parent / "tensors" / n).stat().st_size for n in names_in(latest) or ())
    return (latest.stat().st_size + tensors) / MIB, on_disk(latest.parent)[0]


def measured(config: RunConfig, clients: int, cpus: int) -> dict[str, Any]:
    """Run once; return the figures."""
    largest = dict.fromkeys(("server", "actor", "superlink"), 0.0)

    def look(processes: Any) -> int:
        for kind, size in resident().items():
            largest[kind] = max(largest[kind], size)
        return all_memory(processes)

    began = time.perf_counter()
    with ProcessWatch(look) as watch:
        summary, path = simulate(config, Federation(clients=clients, cpus=cpus))
    if not summary["completed"]:
        raise SystemExit(f"the run failed: {summary}")
    history = pd.read_csv(path / "history.csv")
    later = history.iloc[1:] if len(history) > 1 else history
    at_work = float(later["clients"].mean())
    seconds = float(later["seconds"].median())
    outside = float((cpus * later["seconds"] - later[STEPS].sum(axis=1)).median())
    size, disk = checkpoint_size(path)
    return {
        "clients": clients,
        "at_work": at_work,
        "first_round_s": round(float(history["seconds"][0]), 1),
        "round_s": round(seconds, 1),
        "s_per_client": round(seconds / at_work, 4),
        "core_s_outside_steps_per_client": round(outside / at_work, 4),
        "whole_run_s": round(time.perf_counter() - began, 1),
        "peak_mib": round(watch.peak / MIB),
        **{f"{kind}_mib": round(size) for kind, size in largest.items()},
        "checkpoint_mib": round(size, 1),
        "checkpoints_on_disk_mib": round(disk, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--model", default="simple_conv")
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument(
        "--forget-optimizers",
        action="store_true",
        help="keep-optimizer-state=false: a thousand clients' may be more than a disk holds",
    )
    parser.add_argument("settings", nargs="*", help="key=value of the run configuration")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for clients in given.clients:
        images = min(given.images, max(1, 50_000 // clients))
        with tempfile.TemporaryDirectory() as name:
            dataset = Path(name) / "random"
            random_images(dataset, images * clients)
            for algorithm in given.algorithms:
                config = RunConfig.from_run_config(
                    {
                        "algorithm": algorithm,
                        "model": given.model,
                        "dataset": str(dataset),
                        "num-server-rounds": given.rounds,
                        "fraction-train": given.fraction,
                        "batch-size": min(50, images),
                        "heron.perturbations": 1,
                        "keep-optimizer-state": not given.forget_optimizers,
                        **read_words(given.settings),
                        "results-dir": str(Path(name) / "results"),
                    }
                )
                row = {
                    "model": given.model,
                    "algorithm": algorithm,
                    "fraction": given.fraction,
                    "images": images,
                    **measured(config, clients, given.cpus),
                }
                print(row, flush=True)
                if given.out:
                    is_new = not given.out.exists()
                    with given.out.open("a", newline="", encoding="utf-8") as file:
                        writer = csv.DictWriter(file, row)
                        if is_new:
                            writer.writeheader()
                        writer.writerow(row)


if __name__ == "__main__":
    main()
