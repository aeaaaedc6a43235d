"""Measure what it brings to merge replies when they arrive, on a virtual clock.

    python -m benchmarks.asynchrony FILE.csv [--seeds 200] [--seconds 200] [--replies 120]

Five clients on digits, one of them 5 or 20 times slower in all: device, bandwidth, latency
(Raspberry Pis with LTE). A row of the file is a round: the virtual minutes at its end, the test
accuracy, and the replies merged so far. A run ends after ``--replies``; runs that the file has are
left out, so the command can be repeated until nothing is left. The summary that is printed has the
minutes until the mean accuracy of three rounds reaches each target, and the largest such mean.
"""

import argparse
import csv
import logging
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, product
from pathlib import Path
from statistics import mean
from typing import Any

from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.virtual_clock import fleet_of_run
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.clock.presence import Presence
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.virtual_time_grid import VirtualTimeGrid
from fsl_sage_flwr.units import MIB

CLIENTS, SLOW = 5, 3
TARGETS = (0.6, 0.7, 0.8, 0.85, 0.9)
DOWN, UP, LATENCY = 13.0, 6.0, 31.0  # LTE, as fsl_sage_flwr.clock.links has it
WAYS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "K=3 used": {"async.buffer": 3},
    "K=3 dropped": {"async.buffer": 3, "async.late": "dropped"},
    "K=3 weighted": {"async.buffer": 3, "async.late": "weighted"},
    "fraction-reply 0.8": {"fraction-reply": 0.8},
    "FedAsync 0.6": {"async.buffer": 1, "async.merge": "model", "async.mixing": 0.6},
}
DISTRIBUTIONS = ("iid", "noniid_dirichlet")
KEYS = ("seed", "slower", "distribution", "way", "algorithm")
COLUMNS = (*KEYS, "round", "minutes", "accuracy", "replies", "mib", "largest_staleness")


class EndedError(Exception):
    """There were enough replies."""


class Nodes(VirtualTimeGrid):
    """Nodes whose floating-point operations are counted once for each client and message type."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: dict[tuple[int, str], int] = {}

    def _answer(self, message: Message) -> tuple[Message, int]:
        key = message.metadata.dst_node_id, message.metadata.message_type
        if key in self._known:
            return self._inline.answer(message), self._known[key]
        reply, self._known[key] = super()._answer(message)
        return reply, self._known[key]


def slow_client(folder: Path, slower: int) -> Path:
    """Write the table of the slow client."""
    file = folder / f"{slower}.csv"
    row = f"{SLOW},{slower},{DOWN / slower},{UP / slower},{LATENCY * slower}"
    file.write_text(f"client,factor,mbit_down,mbit_up,latency_ms\n{row}\n", encoding="utf-8")
    return file


def run(
    table: Path, algorithm: str, distribution: str, way: str, seed: int, replies: int
) -> list[dict[str, Any]]:
    """Return the rows of one run."""
    settings: dict[str, Any] = {
        "algorithm": algorithm, "distribution": distribution, "alpha": 0.1, "seed": seed,
        "clock.device": "pi5", "clock.link": "lte", "clock.clients": str(table),
        "clock.replies": True, "num-server-rounds": replies, **WAYS[way],
    }  # fmt: skip
    if algorithm == "fsl_sage":
        settings["auxiliary.groups"] = 1  # of so few images one head is fitted best
    config = RunConfig.from_run_config(settings)
    strategy = build_strategy(config, build_task(config))
    batches = build_test_batches(config)
    inline = InlineGrid(app, CLIENTS, run_config=settings)
    nodes = Nodes(inline, fleet_of_run(config), Presence())
    rows, taus = list[dict[str, Any]](), list[int]()

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        if not server_round:
            return
        merged = [row for row in strategy.client_rounds() if row.examples is not None]
        taus.extend(row.staleness or 0 for row in merged)
        accuracy = strategy.evaluate(arrays, batches).accuracy or 0
        rows.append(
            {"round": server_round, "minutes": round(nodes.now() / 60, 5),
             "accuracy": round(float(accuracy), 4), "replies": len(taus),
             "mib": round(strategy.ledger.total / MIB, 3), "largest_staleness": max(taus)}
        )  # fmt: skip
        if len(taus) >= replies:
            raise EndedError

    with suppress(EndedError):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=replies, evaluate_fn=end_round)
    return rows


def summary(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a line for each run."""
    lines = [",".join((*KEYS, *(f"minutes_to_{t:g}" for t in TARGETS), "best", "minutes", "mib"))]
    for key, own in groupby(rows, key=lambda row: tuple(row[name] for name in KEYS)):
        run_rows = list(own)
        values = [float(row["accuracy"]) for row in run_rows]
        means = [mean(values[max(0, k - 2) : k + 1]) for k in range(len(values))]
        found = [next((k for k, m in enumerate(means) if m >= t), None) for t in TARGETS]
        minutes = ["" if k is None else run_rows[k]["minutes"] for k in found]
        last = run_rows[-1]
        lines.append(",".join((*key, *minutes, f"{max(means):.4f}", last["minutes"], last["mib"])))
    return lines


def read(file: Path) -> list[dict[str, str]]:
    """Return the rows of the file."""
    if not file.is_file():
        file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def main(arguments: Iterable[str] | None = None) -> None:
    """Append the rows of the runs that the file does not have, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[200])
    parser.add_argument("--slower", type=int, nargs="+", default=[20, 5])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--algorithms", nargs="+", default=["cse_fsl", "fsl_sage"])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--replies", type=int, default=120)
    options = parser.parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    began, done = time.monotonic(), {tuple(row[k] for k in KEYS) for row in read(options.file)}
    every = product(options.seeds, options.slower, DISTRIBUTIONS, options.ways, options.algorithms)
    with tempfile.TemporaryDirectory() as folder:
        for seed, slower, distribution, way, algorithm in every:
            cell = (str(seed), str(slower), distribution, way, algorithm)
            if cell in done or time.monotonic() - began > options.seconds:
                continue
            table = slow_client(Path(folder), slower)
            rows = run(table, algorithm, distribution, way, seed, options.replies)
            with options.file.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writerows({**dict(zip(KEYS, cell, strict=True)), **row} for row in rows)
            print(cell, rows[-1], f"{time.monotonic() - began:.0f} s", flush=True)
    print("\n".join(summary(read(options.file))))


if __name__ == "__main__":
    main()
