"""Upload more in the rounds right after an alignment of FSL-SAGE, and fewer in the others.

    python -m benchmarks.upload_schedule [--rounds 12] [--seeds 200 201 202]
        [--distributions iid noniid_dirichlet]

Digits, simple_conv, 10 clients, batches of 12 (12 a round), iid and by Dirichlet with α = 0.1, in
this process and on one thread. A schedule is the upload interval q of each round from one alignment
to the next; all schedules of an alignment interval upload as many samples. Accuracy is the mean of
the second half of the rounds, the cosine the alignments' own from the second on, bytes the total.
"""

import argparse
import statistics
from typing import Any

import torch
from flwr.app import ArrayRecord

from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.rounds.round import Round, RoundBody
from fsl_sage_flwr.strategies import FslSage
from tests.memory_grid import MemoryGrid

# Every q-th of 12 batches is uploaded: an interval of 3 uploads four.
SCHEDULES: dict[int, dict[str, tuple[int, ...]]] = {
    2: {"even": (3, 3), "more after": (2, 6), "fewer after": (6, 2)},
    4: {"even": (3, 3, 3, 3), "more after": (1, 6, 12, 12)},
}


class ScheduledUploads(FslSage):
    """FSL-SAGE with an upload interval for each round from one alignment to the next."""

    schedule: tuple[int, ...] = ()

    def train_round(self, round_: Round) -> RoundBody:
        """Train with the round's interval; an alignment is due where the schedule begins."""
        self.server_update_interval = self.schedule[round_.number % len(self.schedule)]
        yield from super().train_round(round_)


def run(settings: dict[str, Any], schedule: tuple[int, ...]) -> dict[str, float]:
    """Train once; return the figures."""
    config = RunConfig.from_run_config(settings)
    strategy = build_strategy(config, build_task(config))
    strategy.__class__ = type("Scheduled", (ScheduledUploads,), {"schedule": schedule})
    cosines, accuracies = list[float](), list[float]()

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round > config.num_server_rounds // 2:
            found = strategy.evaluate(arrays, build_test_batches(config))
            accuracies.append(100 * found.accuracy)
        cosine = strategy.last_round.alignment_cosine if server_round else None
        if cosine is not None:
            cosines.append(cosine)

    strategy.start(
        MemoryGrid(app, 10, run_config=settings), strategy.initial_arrays(),
        num_rounds=config.num_server_rounds, evaluate_fn=end_round,
    )  # fmt: skip
    return {
        "accuracy": statistics.mean(accuracies),
        "cosine": statistics.mean(cosines[1:]),
        "MiB": strategy.ledger.total / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201, 202])
    parser.add_argument("--distributions", nargs="+", default=["iid", "noniid_dirichlet"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for distribution in given.distributions:
        for interval, schedules in SCHEDULES.items():
            for name, schedule in schedules.items():
                settings = {
                    "algorithm": "fsl_sage", "num-server-rounds": given.rounds, "device": "cpu",
                    "batch-size": 12, "align.interval": interval, "distribution": distribution,
                    "alpha": 0.1,
                }  # fmt: skip
                found = [run({**settings, "seed": seed}, schedule) for seed in given.seeds]
                figures = "; ".join(
                    f"{key} {' / '.join(f'{row[key]:.4g}' for row in found)}" for key in found[0]
                )
                print(f"{distribution} l = {interval}, {name:11}: {figures}", flush=True)


if __name__ == "__main__":
    main()
