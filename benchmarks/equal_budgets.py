"""Compare algorithms at equal bytes, equal client work and equal server work.

    python -m benchmarks.equal_budgets RESULTS [RESULTS …] [--earlier FILE] [--csv FILE]
        [--page FILE]

RESULTS are results directories of ``fsl-sage sweep --preset comparison-reduced`` with recorded
FLOPs; runs that are not completed are left out. ``--earlier`` names the CSV of runs of that preset
without directories (docs/results/comparison-compressed.csv), of which those in four bits count:
their clients have equal numbers of images, and their FLOPs are those that the schedule of the
algorithm declares. Printed is a Markdown table per distribution: the accuracy as the mean of three
rounds, of the last round and of those at a budget, over the seeds. A budget is the smallest total
of the algorithms named for it, so it is the same for all seeds. ``--csv`` writes every round,
``--page`` the tables between two comments of a page (docs/results/comparison.md).
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsl_sage_flwr.analysis.declared import algorithm_schedules, label_of
from fsl_sage_flwr.analysis.load_results import PATH, load_results
from fsl_sage_flwr.analysis.round_work import flops_recorded, works_of
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.clock.plan import plan
from fsl_sage_flwr.clock.work import Flops, RoundWork

# Keys that make variants of an algorithm; the preset's own values are not shown.
VARIANTS = {
    "auxiliary.groups": 0, "align.dataset-size": 250, "align.epochs": 5, "server-pool": False,
}  # fmt: skip
# Those that exchange every batch take least work of clients, CSE-FSL least of the server.
BUDGETS = {
    "MiB": ("comm_mib", ("fsl_sage",)),
    "client": ("client_tflop", ("sl_multi_server", "sl_single_server")),
    "server": ("server_tflop", ("cse_fsl",)),
}
ROUNDS = 3  # of a mean
# What the preset says of a round.
PRESET = {
    "algorithm": "fsl_sage", "batch-size": 50, "server-update-interval": 5, "align.interval": 5,
    "align.dataset-size": 250,
}  # fmt: skip
BEGIN, END = "<!-- equal budgets -->", "<!-- end of equal budgets -->"
COLUMNS = [
    "distribution", "algorithm", "variant", "seed", "round", "test_accuracy", "test_loss",
    "alignment_cosine", "comm_mib", "client_tflop", "server_tflop",
]  # fmt: skip


def work_of(works: list[RoundWork], algorithm: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the clients' and the server's TFLOP up to each round."""
    schedule = algorithm_schedules()[algorithm]
    rounds = [plan(schedule, work) for work in works]
    client = [sum(float(part.client.sum()) for part in parts) for parts in rounds]
    server = [sum(float((p.server + p.align).sum()) for p in parts) for parts in rounds]
    return np.cumsum(client) / 1e12, np.cumsum(server) / 1e12


def recorded(directory: str) -> pd.DataFrame:
    """Return the rounds of every completed run under a directory."""
    rows, found = load_results(directory), []
    for _, run in rows[rows["completed"].astype(bool)].groupby("run", sort=False):
        run = run.sort_values("round")
        first = run.iloc[0]
        client, server = work_of(works_of(run), first["algorithm"])
        unequal = first["distribution"] != "iid"
        changed = {k: first[k] for k, value in VARIANTS.items() if _given(first, k, value)}
        found.append(
            run.assign(
                distribution=f"α = {first['alpha']:g}" if unequal else "iid",
                variant=", ".join(f"{k}={_plain(v)}" for k, v in changed.items()),
                comm_mib=run["comm_bytes"].astype(float) / 2**20,
                client_tflop=client, server_tflop=server,
            )[COLUMNS]
        )  # fmt: skip
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)


def _given(row: Any, key: str, default: Any) -> bool:
    value = row.get(key)
    return value is not None and value == value and value != default


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else f"{value:g}"


def earlier(file: str, flops: Flops) -> pd.DataFrame:
    """Return the rounds in four bits of a CSV, with the work that schedules declare."""
    rows, found = pd.read_csv(file), []
    rows = rows[rows["compression"] == "strong"]
    for (algorithm, _), run in rows.groupby(["algorithm", "seed"], sort=False):
        run = run.sort_values("round")
        config = {**RunConfig.from_run_config(PRESET).to_run_config(), "algorithm": algorithm}
        equal, held = np.full(10, 500.0), np.zeros(10)
        works = []
        for place, (_, row) in enumerate(run.iterrows()):
            aligned = float(row["alignment_cosine"] == row["alignment_cosine"])
            aligned = 1.0 if place % int(config["align.interval"]) == 0 else aligned
            works.append(
                RoundWork(
                    number=place + 1, clients=tuple(range(10)), examples=equal, down={},
                    up={"smashed": np.ones(10), "client_half": np.ones(10)},
                    batch_size=int(config["batch-size"]), local_epochs=1,
                    is_new=np.full(10, place == 0), held=held, config=config, flops=flops,
                    client_seconds=1.0, server_seconds=1.0, alignment_seconds=aligned,
                )
            )  # fmt: skip
            held = held + 100.0  # two of ten batches of 50
        client, server = work_of(works, str(algorithm))
        found.append(
            run.assign(
                distribution="iid", variant="", comm_mib=run["comm_bytes"] / 2**20,
                client_tflop=client, server_tflop=server,
            )[COLUMNS]
        )  # fmt: skip
    return pd.concat(found, ignore_index=True)


def at(run: pd.DataFrame, column: str, budget: float) -> float:
    """Return the mean accuracy in per cent of the last rounds within a budget; NaN without any."""
    within = run[run[column] <= budget * 1.0001].sort_values("round")
    return float(within["test_accuracy"].tail(ROUNDS).mean() * 100)


def budgets(rounds: pd.DataFrame) -> dict[str, float]:
    """Return the smallest total of each budget's algorithms, over all distributions."""
    runs = list(rounds.groupby(["distribution", "algorithm", "variant", "seed"], sort=False))
    return {
        name: min(
            (run[column].max() for (_, algorithm, variant, _), run in runs
             if algorithm in by and not variant),
            default=float("nan"),
        )
        for name, (column, by) in BUDGETS.items()
    }  # fmt: skip


def table(rounds: pd.DataFrame, totals: dict[str, float]) -> list[str]:
    """Return the lines of a distribution's table."""
    runs = list(rounds.groupby(["algorithm", "variant", "seed"], sort=False))
    heads = [
        "algorithm", "seeds", "rounds 13 to 15 (%)", "MiB in all",
        f"at {totals['MiB']:.0f} MiB", f"at {totals['client']:.1f} client TFLOP",
        f"at {totals['server']:.1f} server TFLOP", "client TFLOP in all", "server TFLOP in all",
    ]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|:--|:--|{'--:|' * (len(heads) - 2)}"]
    groups: dict[tuple[str, str], list[tuple[int, pd.DataFrame]]] = {}
    for (algorithm, variant, seed), run in runs:
        groups.setdefault((str(algorithm), str(variant)), []).append((int(str(seed)), run))
    order = sorted(groups, key=lambda key: (list(algorithm_schedules()).index(key[0]), key[1]))
    for algorithm, variant in order:
        group = sorted(groups[algorithm, variant], key=lambda one: one[0])
        own = [run for _, run in group]
        cells = [
            label_of(algorithm) + (f", `{variant}`" if variant else ""),
            ", ".join(str(seed) for seed, _ in group),
            _spread([at(run, "round", 15) for run in own]),
            f"{statistics.mean(run['comm_mib'].max() for run in own):,.0f}",
            *(
                _spread([at(run, column, totals[name]) for run in own])
                for name, (column, _) in BUDGETS.items()
            ),
            *(
                f"{statistics.mean(run[column].max() for run in own):.1f}"
                for column in ("client_tflop", "server_tflop")
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(values: list[float]) -> str:
    known = [value for value in values if value == value]
    if not known:
        return "–"
    mean = f"{statistics.mean(known):.1f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", help="results directories")
    parser.add_argument("--earlier", help="CSV of runs without directories")
    parser.add_argument("--csv", help="file for every round")
    parser.add_argument("--page", help="page whose tables are replaced")
    options = parser.parse_args()
    parts = [recorded(directory) for directory in options.results]
    if options.earlier:
        paths = {path for folder in options.results for path in load_results(folder)[PATH]}
        known = [flops for path in paths if (flops := flops_recorded(Path(path))) is not None]
        # Of a run with a head; the others record that it takes none.
        parts.append(earlier(options.earlier, max(known, key=lambda flops: flops.head)))
    rounds = pd.concat([part for part in parts if len(part)], ignore_index=True)
    # The same run in two directories counts once.
    rounds = rounds.drop_duplicates(["distribution", "algorithm", "variant", "seed", "round"])
    if options.csv:
        file = rounds.sort_values(COLUMNS[:5])
        file.to_csv(Path(options.csv), index=False, float_format="%.6g", lineterminator="\n")
    totals = budgets(rounds)
    tables = [
        "\n".join([f"### {distribution}", "", *table(part, totals), ""])
        for distribution, part in rounds.groupby("distribution")
    ]
    print("\n".join(tables))
    if options.page:
        page = Path(options.page)
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        text = "\n".join([before + BEGIN, "", *tables, END + after])
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
