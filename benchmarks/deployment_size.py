"""Measure memory and disk of every process of a deployment at the paper's setting.

    python -m benchmarks.deployment_size --dataset DIR [--rounds N]

FSL-SAGE with ResNet-18 on a local CIFAR-10 of 10,000 training images, a SuperLink with two
SuperNodes: 5,000 images per client, batches of 256, every fifth batch is uploaded. It runs once
with the SuperLink's state in memory, which is the default, and once in a database.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.commands import run_directory
from tests.e2e.deployment import Deployment

MIB = 2**20
KINDS = ("flower-superlink", "flwr-serverapp", "flower-supernode", "flwr-clientapp")
SETTINGS: dict[str, Any] = {
    "model": "resnet18", "batch_size": 256, "server_update_interval": 5, "align_interval": 10,
    "align_dataset_size": 1000,
}  # fmt: skip


def resident() -> dict[str, float]:
    """Return the largest resident memory of each kind of process below this one, in MiB."""
    found = dict.fromkeys(KINDS, 0.0)
    for process in psutil.Process().children(recursive=True):
        try:
            words, size = " ".join(process.cmdline()), process.memory_info().rss / MIB
        except psutil.Error:  # the process has ended
            continue
        for kind in KINDS:
            if kind in words:
                found[kind] = max(found[kind], size)
    return found


def watch(deployment: Deployment, run: int, folder: Path) -> dict[str, float]:
    """Return the peak memory until a run has ended and the database's largest size, in MiB."""
    peaks = dict.fromkeys((*KINDS, "database"), 0.0)
    while not deployment.status(run).startswith("finished"):
        until = time.monotonic() + 10  # asking for the status takes some CPU-seconds
        while time.monotonic() < until:
            now = resident()
            now["database"] = sum(f.stat().st_size for f in folder.glob("state.db*")) / MIB
            peaks = {kind: max(peaks[kind], now[kind]) for kind in peaks}
            time.sleep(0.2)
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for where in ("memory", "database"):
        with tempfile.TemporaryDirectory() as name:
            kept = ["--database", f"{name}/state.db"] if where == "database" else []
            with Deployment(Path(name), link_options=kept) as deployment:
                for partition in range(2):
                    deployment.start_node(partition)
                run = deployment.run(
                    **SETTINGS, dataset=options.dataset, results_dir=f"{name}/results",
                    num_server_rounds=options.rounds,
                )  # fmt: skip
                peaks = watch(deployment, run, Path(name))
                if deployment.status(run) != "finished:completed":
                    raise SystemExit(deployment.logs()[-3000:])
            files = run_directory(Path(name) / "results").rglob("*")
            peaks["results"] = sum(file.stat().st_size for file in files if file.is_file()) / MIB
            found = ", ".join(f"{kind} {size:,.0f}" for kind, size in peaks.items())
            print(f"state in {where}: {found} (MiB)", flush=True)


if __name__ == "__main__":
    main()
