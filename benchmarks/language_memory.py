"""Measure the memory of a client that trains a language model, for each algorithm.

    python -m benchmarks.language_memory MODEL DATASET --cut layers.3

One client, batches of 8 rows of 96 tokens, LoRA of rank 4, AdamW, q = 2, two rounds in the
simulation. As in ``benchmarks.memory`` the result is the peak of the client's process minus the
peak of the same process when it trains simple_conv on digits.
"""

import argparse
from pathlib import Path

from fsl_sage_flwr.algorithm_registry import ALGORITHMS

from .memory import peak_of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--cut", default="layers.3")
    given = parser.parse_args()
    setting: dict[str, object] = {
        "task": "causal_lm",
        "model": str(given.model.absolute()),
        "dataset": str(given.dataset.absolute()),
        "cut": given.cut,
        "batch-size": 8,
        "language.max-length": 96,
        "language.max-test-rows": 16,
        "server-update-interval": 2,
        "optimizer": "adamw",
        "server-optimizer": "adamw",
        "heron.perturbations": 1,
    }
    base = peak_of({"algorithm": "fed_avg"})
    print(f"simple_conv on digits: {base / 2**20:.0f} MiB")
    for algorithm in ALGORITHMS:
        peak = peak_of({"algorithm": algorithm, **setting})
        more = (peak - base) / 2**20
        print(f"{algorithm}, cut {given.cut}: {more:.0f} MiB more than that", flush=True)


if __name__ == "__main__":
    main()
