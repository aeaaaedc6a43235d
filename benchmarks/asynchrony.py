"""Measure aggregation of replies on arrival, on a virtual clock.

    python -m benchmarks.asynchrony FILE.csv [--seeds 200 201 202] [--slower 5 20] [--seconds 60]

Five clients on digits, one of them 5 or 20 times slower in device, bandwidth and latency
(Raspberry Pis with LTE). Waiting for all has ``--rounds`` rounds, each other way the same virtual
time. A run ends earlier if the mean test accuracy of three measured rounds reaches the largest
target. A row of the file is a round with measured accuracy: each of the first 20, then every fifth.
Runs in the file are skipped, so a repeated command continues. ``--summary`` prints the minutes to
each target, and the last such mean, over seeds.
"""

import argparse
import csv
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
EACH_ROUND, FURTHER, MEAN_OF = 20, 5, 3
MOST_ROUNDS = 10_000
TARGETS = (0.6, 0.8, 0.9)
DOWN, UP, LATENCY = 13.0, 6.0, 31.0  # LTE, as fsl_sage_flwr.clock.links has it
ALL = "all"
WAYS: Mapping[str, Mapping[str, Any]] = {
    ALL: {},
    "K=3 used": {"async.buffer": 3},
    "K=3 dropped": {"async.buffer": 3, "async.late": "dropped"},
    "K=3 GAS": {"async.buffer": 3, "async.generate": 32},  # of a batch's size: equally many
    "K=3 weighted": {"async.buffer": 3, "async.late": "weighted"},
    "fraction-reply 0.8": {"fraction-reply": 0.8},
    "FedAsync 0.6": {"async.buffer": 1, "async.merge": "model", "async.mixing": 0.6},
}
DISTRIBUTIONS = ("iid", "noniid_dirichlet")
KEYS = ("seed", "slower", "distribution", "way", "algorithm")
COLUMNS = (*KEYS, "round", "minutes", "accuracy", "replies", "mib", "largest_staleness")


class EndedError(Exception):
    """The run has its time, or has reached the largest target."""


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
    table: Path, algorithm: str, distribution: str, way: str, seed: int, rounds: int, minutes: float
) -> list[dict[str, Any]]:
    """Return the rows of one run, which ends after ``rounds`` or ``minutes`` of virtual time."""
    settings: dict[str, Any] = {
        "algorithm": algorithm, "distribution": distribution, "alpha": 0.1, "seed": seed,
        "clock.device": "pi5", "clock.link": "lte", "clock.clients": str(table),
        "clock.replies": True, "num-server-rounds": rounds, **WAYS[way],
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
        now = nodes.now() / 60
        if server_round <= EACH_ROUND or server_round % FURTHER == 0 or now >= minutes:
            accuracy = strategy.evaluate(arrays, batches).accuracy or 0
            rows.append(
                {"round": server_round, "minutes": round(now, 5),
                 "accuracy": round(float(accuracy), 4), "replies": len(taus),
                 "mib": round(strategy.ledger.total / MIB, 3), "largest_staleness": max(taus)}
            )  # fmt: skip
        reached = len(rows) >= MEAN_OF and means(rows)[-1] >= TARGETS[-1]
        if now >= minutes or reached:
            raise EndedError

    with suppress(EndedError):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=rounds, evaluate_fn=end_round)
    return rows


def means(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the mean accuracy of each row and the rows before it."""
    values = [float(row["accuracy"]) for row in rows]
    return [mean(values[max(0, k + 1 - MEAN_OF) : k + 1]) for k in range(len(values))]


def time_of_all(
    done: Iterable[Mapping[str, str]], cell: Sequence[str], rounds: int
) -> float | None:
    """Return the virtual minutes of ``rounds`` rounds of waiting for all; None if it did not run.

    Where that run ended at the largest target, its rounds are taken to be as long as before.
    """
    seed, slower, distribution, _, algorithm = cell
    waiting = (seed, slower, distribution, ALL, algorithm)
    of_it = [row for row in done if tuple(row[name] for name in KEYS) == waiting]
    return float(of_it[-1]["minutes"]) / int(of_it[-1]["round"]) * rounds if of_it else None


def summary(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: a setting's mean and range over its seeds."""
    further = ("distribution", "slower", "algorithm", "way")
    heads = [f"minutes to {100 * target:g} %" for target in TARGETS]
    columns = (*further, "seeds", *heads, "accuracy at the end (%)", "minutes", "replies")
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"

    def setting_of(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[name] for name in further)

    for setting, its_rows in groupby(sorted(rows, key=setting_of), key=setting_of):
        runs = [list(own) for _, own in groupby(its_rows, key=lambda row: row["seed"])]
        cells = [*setting, str(len(runs))]
        for target in TARGETS:
            found = [minutes_to(target, own) for own in runs]
            reached = [value for value in found if value is not None]
            missing = f", {len(runs) - len(reached)} not" if len(reached) < len(runs) else ""
            cells.append(spread(reached) + missing if reached else "–")
        cells.append(spread([100 * means(own)[-1] for own in runs], digits=1))
        cells.append(spread([float(own[-1]["minutes"]) for own in runs]))
        cells.append(spread([float(own[-1]["replies"]) for own in runs], digits=0))
        yield f"| {' | '.join(cells)} |"


def minutes_to(target: float, rows: Sequence[Mapping[str, str]]) -> float | None:
    """Return the virtual minutes to a mean accuracy of three measured rounds."""
    both = zip(rows, means(rows), strict=True)
    return next((float(row["minutes"]) for row, reached in both if reached >= target), None)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the mean and the range of values."""
    least, most = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{mean(values):.{digits}f}" + ("" if least == most else f" ({least} to {most})")


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
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201, 202])
    parser.add_argument("--slower", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--distributions", nargs="+", default=list(DISTRIBUTIONS))
    parser.add_argument("--ways", nargs="+", default=["K=3 used"], choices=list(WAYS)[1:])
    parser.add_argument("--algorithms", nargs="+", default=["cse_fsl", "fsl_sage", "heron_sfl"])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args(arguments)
    if options.summary:
        print("\n".join(summary(read(options.file))))
        return
    logging.getLogger("flwr").setLevel(logging.ERROR)
    began, done = time.monotonic(), read(options.file)
    cells = product(
        options.seeds, options.slower, options.distributions, options.algorithms,
        (ALL, *options.ways),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for seed, slower, distribution, algorithm, way in cells:
            cell = (str(seed), str(slower), distribution, way, algorithm)
            if any(tuple(row[name] for name in KEYS) == cell for row in done):
                continue
            if time.monotonic() - began > options.seconds:
                raise SystemExit(f"{cell} is next")
            minutes = time_of_all(done, cell, options.rounds)
            most = options.rounds if minutes is None else MOST_ROUNDS
            rows = run(
                slow_client(Path(folder), slower), algorithm, distribution, way, seed, most,
                float("inf") if minutes is None else minutes,
            )  # fmt: skip
            done += [{**dict(zip(KEYS, cell, strict=True)), **row} for row in rows]
            with options.file.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS).writerows(done[-len(rows) :])
            print(cell, rows[-1], f"{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
