"""Measure memory and disk during a long run.

    python -m benchmarks.long_run --rounds 500

The default run (FSL-SAGE, simple_conv, digits, 4 clients) in the simulation. Every 25 rounds it
prints the resident memory of the ServerApp's process, of the largest actor and of the SuperLink,
and the disk space of the run, the SuperLink and Ray.
"""

import argparse
import os
import tempfile
from pathlib import Path

import psutil

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.progress import Rows, Watcher
from fsl_sage_flwr.simulations.run import simulate

MIB = 2**20
KINDS = {"server": "flwr-simulation", "actor": "ClientAppActor", "superlink": "flower-superlink"}


def resident() -> dict[str, float]:
    """Return the largest resident memory of each kind of process below this one, in MiB."""
    found = dict.fromkeys(KINDS, 0.0)
    for process in psutil.Process().children(recursive=True):
        try:
            words, size = " ".join(process.cmdline()), process.memory_info().rss / MIB
        except psutil.Error:  # the process has ended
            continue
        for kind, mark in KINDS.items():
            if mark in words:
                found[kind] = max(found[kind], size)
    return found


def on_disk(*folders: Path) -> list[float]:
    """Return the size of each folder, in MiB."""
    sizes = []
    for folder in folders:
        files = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
        sizes.append(sum(file.lstat().st_size for file in files if file.is_file()) / MIB)
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch, results = Path(name) / "scratch", Path(name) / "results"
        scratch.mkdir()
        tempfile.tempdir = str(scratch)  # the SuperLink's home and log go here
        before = on_disk(Path("/tmp/ray"))[0]
        print("round  server  actor  superlink    run  superlink's home    Ray  (MiB)")

        class Sizes(Watcher):
            def __call__(self, rows: Rows) -> None:
                if len(rows) % 25 and len(rows) not in (1, 5):
                    return
                memory, (run, home, ray) = resident(), on_disk(results, scratch, Path("/tmp/ray"))
                print(
                    f"{len(rows):>5}  {memory['server']:>6.0f}  {memory['actor']:>5.0f}  "
                    f"{memory['superlink']:>9.0f}  {run:>5.1f}  {home:>16.1f}  "
                    f"{ray - before:>5.1f}",
                    flush=True,
                )

        config = RunConfig(num_server_rounds=options.rounds, results_dir=str(results))
        summary, _ = simulate(config, Federation(), Sizes())
        print({key: summary[key] for key in ("completed", "rounds", "final_accuracy", "seconds")})


if __name__ == "__main__":
    main()
