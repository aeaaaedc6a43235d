"""Run all algorithms on digits: without faults, with lost clients, with cut links.

    python -m benchmarks.protocols OUT [--seeds 200 201] [--distributions iid] [--seconds 60]
    fsl-sage time OUT --protocols ...

The runs of docs/results/protocols.md, in this process. Completed runs are skipped, so a repeated
command continues; no run starts after ``--seconds``.
"""

import argparse
import shutil
import time
from itertools import product
from pathlib import Path

from flwr.app import UserConfigValue

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.server_app import app as server_app

from .deployed_time import is_completed

CLIENTS, ROUNDS = 4, 12
FAULTS: dict[str, dict[str, UserConfigValue]] = {
    "none": {},
    "lost": {"faults.lost-clients": 0.25},
    "cut": {"faults.cut-links": 0.25},
}
OWN: dict[str, dict[str, UserConfigValue]] = {"ampere": {"ampere.client-rounds": 8}}


def main() -> None:
    """Make the runs that OUT does not have."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[200])
    parser.add_argument("--distributions", nargs="+", default=["iid"])
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    began = time.monotonic()
    for faults, distribution, seed, algorithm in product(
        options.faults, options.distributions, options.seeds, ALGORITHMS
    ):
        out = options.out / f"{distribution}-{seed}-{faults}" / algorithm
        if is_completed(out):
            continue
        if time.monotonic() - began > options.seconds:
            raise SystemExit(f"{out} is next")
        shutil.rmtree(out, ignore_errors=True)
        settings: dict[str, UserConfigValue] = {
            "algorithm": algorithm, "num-server-rounds": ROUNDS, "results-dir": str(out),
            "seed": seed, "distribution": distribution, "alpha": 0.1,
            **FAULTS[faults], **OWN.get(algorithm, {}),
        }  # fmt: skip
        run_inline(server_app, client_app, CLIENTS, settings)
        print(f"{out.relative_to(options.out)}  {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
