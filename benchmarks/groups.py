"""Compare heads shared by clients with a head per client: cosine, accuracy, seconds.

    python -m benchmarks.groups [--clients 40] [--rounds 20] [--groups 0 1 4] [--seeds 200 201]
        [--dataset digits]

FSL-SAGE, simple_conv, iid and by Dirichlet with α = 0.1, in this process and on one thread.
``auxiliary.groups`` 0 is a head per client. The cosine is the alignments', a mean over the run;
seconds are the alignment's in a round that has one; files are the disk space of heads, optimizers
and alignment sets after the run.
"""

import argparse
import statistics
from typing import Any

import torch
from flwr.app import ArrayRecord

from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from tests.memory_grid import MemoryGrid

DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "iid": {},
    "α = 0.1": {"distribution": "noniid_dirichlet", "alpha": 0.1},
}


def run(settings: dict[str, Any], clients: int) -> dict[str, float]:
    """Train once; return the figures."""
    config = RunConfig.from_run_config(settings)
    strategy = build_strategy(config, build_task(config))
    cosines, seconds = list[float](), list[float]()

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        summary = strategy.last_round
        if server_round and summary.alignment_cosine is not None:
            cosines.append(summary.alignment_cosine)
            seconds.append(summary.alignment_seconds)

    arrays = strategy.start(
        MemoryGrid(app, clients, run_config=settings), strategy.initial_arrays(),
        num_rounds=config.num_server_rounds, evaluate_fn=end_round,
    ).arrays  # fmt: skip
    files = sum(path.stat().st_size for path in strategy.files.path.rglob("*") if path.is_file())
    return {
        "cosine": statistics.mean(cosines),
        "accuracy": strategy.evaluate(arrays, build_test_batches(config)).accuracy,
        "seconds": statistics.median(seconds),
        "MiB": files / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--groups", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201])
    parser.add_argument("--dataset", default="digits")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, distribution in DISTRIBUTIONS.items():
        for groups in given.groups:
            found = [
                run(
                    {
                        "algorithm": "fsl_sage", "num-server-rounds": given.rounds, "seed": seed,
                        "auxiliary.groups": groups, "device": "cpu", "dataset": given.dataset,
                        **distribution,
                    },
                    given.clients,
                )
                for seed in given.seeds
            ]  # fmt: skip
            shown = {key: [row[key] for row in found] for key in found[0]}
            print(
                f"{name:8} groups {groups:3d}: "
                + "; ".join(f"{k} {' / '.join(f'{v:.3g}' for v in vs)}" for k, vs in shown.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
