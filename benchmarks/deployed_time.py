"""Compare rounds of a deployment on shaped links with the virtual clock's.

    python -m benchmarks.deployed_time OUT --links 1@20 1@200
    python -m benchmarks.deployed_time OUT --table

A SuperLink and two SuperNodes on one machine, whose links (:mod:`benchmarks.shaped_links`) have a
bandwidth in Mbit/s and a latency in ms. The nodes compute as slowly as devices of ``DEVICES``
FLOP/s, by sleeping. simple_conv on digits, two batches per client and round.

The first round, in which the server also asks the nodes for their clients, is not counted, nor is
the test. Flower's cost of a message is the difference to the clock in FSL-SAGE's round of one
message, in the same deployment; it predicts SplitFed's round of three messages. The last line fits
one cost to all rounds of FSL-SAGE, in seconds and in round trips.
"""

import argparse
import csv
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.load_results import load_results
from fsl_sage_flwr.analysis.run_time import PlannedRun, plan_runs
from fsl_sage_flwr.clock.fleet import Fleet, fleet_of
from fsl_sage_flwr.clock.simulate import Clock
from fsl_sage_flwr.simulations.app_directory import write_app
from tests.e2e.commands import run_directory, summary_of
from tests.e2e.deployment import Deployment

from . import slow_client_app
from .shaped_links import Shape, shaped_links

CALIBRATING, PREDICTED = ALGORITHMS = ("fsl_sage", "sl_single_server")
DEVICES = (4e9, 2e9)
BATCH_SIZE = 360
DEVICE_TABLE = "devices.csv"


def shape_of(text: str) -> Shape:
    mbit, _, milliseconds = text.partition("@")
    return Shape(float(mbit), float(milliseconds) / 1000)


def slow_app(directory: Path) -> Path:
    """Write this package's app with the slow ClientApp; return its directory."""
    written = write_app(directory)
    shutil.copyfile(slow_client_app.__file__, written / "slow_client_app.py")
    table = (written / "pyproject.toml").read_text(encoding="utf-8")
    table = table.replace("fsl_sage_flwr.client_app:app", "slow_client_app:app")
    table = table.replace("fab-include = [", 'fab-include = ["slow_client_app.py", ')
    (written / "pyproject.toml").write_text(table, encoding="utf-8")
    return written


def measure(out: Path, links: Sequence[str], algorithms: Sequence[str], rounds: int) -> None:
    """Run each algorithm on each link, in one deployment."""
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name)) as deployment:
        app, shape = slow_app(Path(name) / "slow"), Shape()
        for partition, link in enumerate(shaped_links(len(DEVICES), shape, deployment.port)):
            deployment.start_node(
                partition, of=len(DEVICES), through=link.port, more=f"flops={DEVICES[partition]}"
            )
        for text in links:
            asked = shape_of(text)
            for algorithm in algorithms:
                results = out / text / algorithm
                shutil.rmtree(results, ignore_errors=True)
                shape.mbit, shape.round_trip = asked.mbit, asked.round_trip
                run = deployment.run(
                    app, algorithm=algorithm, batch_size=BATCH_SIZE, num_server_rounds=rounds,
                    results_dir=str(results.resolve()),
                )  # fmt: skip
                status = deployment.finish(run)
                if status != "finished:completed":
                    raise SystemExit(f"{text}, {algorithm}: {status}\n{deployment.logs()[-3000:]}")
                write_devices(out / text / DEVICE_TABLE)
                print(f"{text:>8}  {algorithm:<16}  {measured(results):6.2f} s", flush=True)


def write_devices(file: Path) -> None:
    """Write the nodes' speeds as the clock reads them."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("client", "flops"), *enumerate(DEVICES)])


def is_completed(results: Path) -> bool:
    """Return whether a directory has a completed run; another one may still run."""
    return any(summary_of(file.parent)["completed"] for file in results.rglob("summary.json"))


def measured(results: Path) -> float:
    """Return the mean seconds of a round after the first, without its test."""
    history = pd.read_csv(run_directory(results) / "history.csv")[1:]
    return float((history["seconds"] - history["evaluation_seconds"]).mean())


@dataclass(frozen=True)
class Case:
    """A measured run: its link, directory, algorithm, seconds of a round, and plan."""

    shape: Shape
    place: Path
    algorithm: str
    seconds: float
    run: PlannedRun


def planned(results: Path) -> PlannedRun:
    (run,) = plan_runs(compare(load_results(results), target=1.0, mean_of=1))
    return run


def predicted(run: PlannedRun, fleet: Fleet) -> float:
    """Return the clock's mean seconds of a round after the first."""
    times = run.times(Clock(fleet))[1:]
    return sum(time.seconds for time in times) / len(times)


def fleet_on(place: Path, seconds: float = 0.0, round_trips: float = 1.0) -> Fleet:
    """Return the two nodes on a link, with Flower's cost of a message."""
    return fleet_of(
        link=place.name.replace("inf", "1e9"), table=place / DEVICE_TABLE,
        message_seconds=seconds, message_round_trips=round_trips,
    )  # fmt: skip


def table(out: Path) -> None:
    """Print measured seconds beside the clock's, for all runs below a directory."""
    cases = [
        Case(shape_of(place.name), place, algorithm, measured(place / algorithm),
             planned(place / algorithm))
        for place in sorted(out.iterdir())
        for algorithm in ALGORITHMS
        if is_completed(place / algorithm)
    ]  # fmt: skip
    first = {case.place: case for case in cases if case.algorithm == CALIBRATING}
    other = {case.place: case for case in cases if case.algorithm == PREDICTED}
    print(f"| Mbit/s | ms | `{CALIBRATING}` | clock without the cost | cost of a message "
          f"| `{PREDICTED}` | clock without the cost | clock | clock / measured |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for place, case in sorted(first.items(), key=lambda item: item[1].shape):
        bare = predicted(case.run, fleet_on(place))
        cells = [f"{case.shape.mbit:g}", f"{1000 * case.shape.round_trip:g}"]
        cells += [f"{case.seconds:.1f} s", f"{bare:.1f} s", f"{case.seconds - bare:.1f} s"]
        if place in other:
            real, run = other[place].seconds, other[place].run
            clock = predicted(run, fleet_on(place, case.seconds - bare))
            cells += [f"{real:.1f} s", f"{predicted(run, fleet_on(place)):.1f} s"]
            cells += [f"{clock:.1f} s", f"{clock / real:.2f}"]
        print(f"| {' | '.join(cells)} |")
    seconds, trips = cost_of_a_message(list(first.values()))
    ratios = [predicted(c.run, fleet_on(c.place, seconds, trips)) / c.seconds for c in cases]
    print(f"\none cost for all, {seconds:.1f} s and {trips:.0f} round trips: clock / measured "
          f"{min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip


def cost_of_a_message(cases: Sequence[Case]) -> tuple[float, float]:
    """Fit seconds and round trips of a message to runs with one message a round, by least squares.

    The clock already has one round trip.
    """
    latencies = [case.shape.round_trip for case in cases]
    missing = [case.seconds - predicted(case.run, fleet_on(case.place)) for case in cases]
    (further, seconds), *_ = np.linalg.lstsq(
        np.stack([latencies, np.ones(len(cases))], axis=1), np.array(missing)
    )
    return float(seconds), 1 + float(further)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--links", nargs="+", default=[])
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the deployment ends with it
    if options.links:
        measure(options.out, options.links, options.algorithms, options.rounds)
    if options.table:
        table(options.out)


if __name__ == "__main__":
    main()
