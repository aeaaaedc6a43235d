"""Measure what it brings to merge replies when they arrive, on a virtual clock.

    python -m benchmarks.asynchrony FILE.csv [--seeds 200 201 202] [--seconds 200]

Ten clients on digits, two of them 5 or 20 times slower in everything: device, bandwidth, latency
(Raspberry Pis with LTE). For each algorithm, distribution and way to end a round: virtual minutes,
rounds, merged replies and MiB until the mean test accuracy of three rounds reaches the target, and
the staleness of the replies. A run ends after ``MOST_REPLIES``. Rows are appended; runs that the
file has are left out, so the command can be repeated until nothing is left.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from flwr.app import ArrayRecord

from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.virtual_clock import grid_on_virtual_time
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.passing_time import now_on
from fsl_sage_flwr.units import MIB

CLIENTS, SLOW = 10, (3, 7)
MOST_REPLIES = 400
TARGETS = {"iid": 0.90, "noniid_dirichlet": 0.80}
DOWN, UP, LATENCY = 13.0, 6.0, 31.0  # LTE, as fsl_sage_flwr.clock.links has it
WAYS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "fraction-reply 0.8": {"fraction-reply": 0.8},
    "K=5 used": {"async.buffer": 5},
    "K=5 weighted": {"async.buffer": 5, "async.late": "weighted"},
    "K=5 dropped": {"async.buffer": 5, "async.late": "dropped"},
    "K=2 used": {"async.buffer": 2},
    "FedAsync 0.6": {"async.buffer": 1, "async.merge": "model", "async.mixing": 0.6},
}
COLUMNS = (
    "algorithm", "distribution", "slower", "way", "seed", "target", "reached", "minutes", "rounds",
    "replies", "mib", "best_accuracy", "mean_staleness", "largest_staleness",
)  # fmt: skip


class EndedError(Exception):
    """The target is reached, or there were enough replies."""


def slow_clients(folder: Path, slower: int) -> Path:
    """Write the table of the slow clients."""
    file = folder / f"{slower}.csv"
    values = f"{slower},{DOWN / slower},{UP / slower},{LATENCY * slower}"
    lines = [f"{client},{values}" for client in SLOW]
    file.write_text("\n".join(["client,factor,mbit_down,mbit_up,latency_ms", *lines]) + "\n")
    return file


def run(table: Path, algorithm: str, distribution: str, way: str, seed: int) -> dict[str, Any]:
    """Return the figures of one run."""
    settings: dict[str, Any] = {
        "algorithm": algorithm, "distribution": distribution, "alpha": 0.1, "seed": seed,
        "clock.device": "pi5", "clock.link": "lte", "clock.clients": str(table),
        "clock.replies": True, "num-server-rounds": MOST_REPLIES, **WAYS[way],
    }  # fmt: skip
    config = RunConfig.from_run_config(settings)
    strategy = build_strategy(config, build_task(config))
    batches = build_test_batches(config)
    nodes = grid_on_virtual_time(InlineGrid(app, CLIENTS, run_config=settings), config)
    target, accuracies, staleness = TARGETS[distribution], list[float](), list[int]()
    found: dict[str, Any] = {"target": target, "reached": False}

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        if not server_round:
            return
        merged = [row for row in strategy.client_rounds() if row.examples is not None]
        staleness.extend(row.staleness or 0 for row in merged)
        accuracies.append(float(strategy.evaluate(arrays, batches).accuracy or 0))
        found["reached"] = len(accuracies) > 2 and mean(accuracies[-3:]) >= target
        if found["reached"] or len(staleness) >= MOST_REPLIES:
            raise EndedError

    with suppress(EndedError):
        strategy.start(
            nodes, strategy.initial_arrays(), num_rounds=MOST_REPLIES, evaluate_fn=end_round
        )
    return {
        **found,
        "minutes": round(now_on(nodes) / 60, 4),
        "rounds": len(accuracies),
        "replies": len(staleness),
        "mib": round(strategy.ledger.total / MIB, 3),
        "best_accuracy": round(max(accuracies), 4),
        "mean_staleness": round(mean(staleness), 2),
        "largest_staleness": max(staleness),
    }


def main(arguments: Iterable[str] | None = None) -> None:
    """Append the rows of the runs that the file does not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201, 202])
    parser.add_argument("--distributions", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args(arguments)
    began = time.monotonic()
    keys = ("seed", "distribution", "way", "slower", "algorithm")
    done = set()
    if options.file.is_file():
        with options.file.open(newline="", encoding="utf-8") as file:
            done = {tuple(row[key] for key in keys) for row in csv.DictReader(file)}
    else:
        options.file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    every = product(
        options.seeds, options.distributions, options.ways, (5, 20), ("fsl_sage", "cse_fsl")
    )
    with tempfile.TemporaryDirectory() as folder:
        for seed, distribution, way, slower, algorithm in every:
            cell = (str(seed), distribution, way, str(slower), algorithm)
            if cell in done or time.monotonic() - began > options.seconds:
                continue
            table = slow_clients(Path(folder), slower)
            figures = run(table, algorithm, distribution, way, seed)
            row = {**dict(zip(keys, cell, strict=True)), **figures}
            with options.file.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
