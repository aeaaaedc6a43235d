"""Measure the cost of a checkpoint by the number of clients changed in a round.

    python -m benchmarks.checkpoint [--clients 1000] [--changed 10 100 1000] [--mib 2] [--out DIR]

Every client has one file of tensors, as for a head with its optimizer and alignment set.
``writing`` is the round's own time for the files of changed clients, before its checkpoint; the
checkpoint waits until they are on the disk, and computes their checksums. Medians of three
rounds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from fsl_sage_flwr.runs.directory import RunDirectory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--changed", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--mib", type=float, default=2.0)
    parser.add_argument("--out", type=Path, help="where to write; the system's temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.out) as name:
        run = RunDirectory(Path(name))
        numbers = int(given.mib * 2**20 / 4)

        def write() -> object:
            return run.checkpoints.tensors.write({"head": torch.randn(numbers)})

        heads = {client: write() for client in range(given.clients)}
        run.checkpoints.write(run.checkpoints.latest, {"heads": heads})
        for changed in given.changed:
            writing, checkpoint = [], []
            for _ in range(3):
                began = time.perf_counter()
                heads |= {client: write() for client in range(changed)}
                written = time.perf_counter()
                run.checkpoints.write(run.checkpoints.latest, {"heads": heads})
                writing.append(written - began)
                checkpoint.append(time.perf_counter() - written)
            print(
                f"{changed} of {given.clients} clients changed, {given.mib:g} MiB each: "
                f"writing {statistics.median(writing):.2f} s, "
                f"checkpoint {statistics.median(checkpoint):.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
