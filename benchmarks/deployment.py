"""Measure the time of a message on a real SuperLink with two SuperNodes, for each algorithm.

    python -m benchmarks.deployment [--rounds N]

simple_conv on digits, two batches per client: there is little arithmetic, so most of the time is
the cost of messages. The first round, in which the server also asks the nodes for their clients, is
not counted. The simulation runs the same rounds for comparison.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate
from tests.e2e.commands import run_directory
from tests.e2e.deployment import Deployment

NODES = 2
BATCH_SIZE = 360
# Algorithm, batches per exchange, and messages per client in a round of two batches.
CASES = (
    ("fed_avg", 1, 1),
    ("cse_fsl", 1, 1),
    ("fsl_sage", 1, 1),
    ("sl_multi_server", 1, 3),
    ("sl_single_server", 1, 3),
    ("sl_single_server", 2, 2),
)


def seconds_of(run: Path) -> float:
    """Return the mean seconds of a round after the first."""
    return float(pd.read_csv(run / "history.csv")["seconds"][1:].mean())


def deployed(deployment: Deployment, results: Path, settings: dict[str, Any]) -> float:
    run = deployment.run(**settings, results_dir=str(results))
    status = deployment.finish(run)
    if status != "finished:completed":
        raise SystemExit(f"{settings}: {status}\n{deployment.logs()[-3000:]}")
    return seconds_of(run_directory(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    print("algorithm         batches  messages  deployed: a round  a message  simulated: a round")
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name)) as deployment:
        for partition in range(NODES):
            deployment.start_node(partition, of=NODES)
        for k, (algorithm, width, messages) in enumerate(CASES):
            settings: dict[str, Any] = {
                "algorithm": algorithm, "batches_per_exchange": width, "batch_size": BATCH_SIZE,
                "num_server_rounds": options.rounds,
            }  # fmt: skip
            real = deployed(deployment, Path(name) / f"deployed{k}", settings)
            config = RunConfig(**settings, results_dir=f"{name}/simulated{k}")
            simulated = seconds_of(simulate(config, Federation(clients=NODES))[1])
            print(
                f"{algorithm:<16}  {width:>7}  {messages:>8}  {real:>15.1f} s  "
                f"{real / messages:>7.1f} s  {simulated:>16.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
