"""Measure the price of an (ε, δ) in test accuracy, for noise on smashed data and DP-SGD.

    python -m benchmarks.privacy_price --csv FILE [--picture FILE] [--seeds 200] [--algorithms …]

Digits, ten clients, iid, simple_conv, 20 rounds, in this process. ``where`` names the noised part:
the smashed data, the client's steps, or both, all with the same multiplier and a clipping norm of
1. ``epsilon`` is that of the noised part after the run, at δ = 1e-5. It is the run's only with
noise on both; otherwise the other part is uploaded in clear. Existing rows are skipped. Needs the
extra ``privacy``.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fsl_sage_flwr.algorithm_registry import ALGORITHMS, label_of
from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.runs.privacy_account import PrivacyAccount
from tests.memory_grid import MemoryGrid

CLIENTS, DELTA = 10, 1e-5
SMASHED, STEPS, BOTH = "smashed data", "steps", "both"
MULTIPLIERS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
KEYS = ("algorithm", "where", "multiplier", "seed")


def noise(where: str, multiplier: float) -> dict[str, Any]:
    """Return the keys that put noise there; a multiplier of 0 only clips."""
    keys: dict[str, Any] = {"privacy.delta": 0.0}
    if where in (SMASHED, BOTH):
        keys |= {"privacy.smashed-clip-norm": 1.0, "privacy.smashed-noise-multiplier": multiplier}
    if where in (STEPS, BOTH):
        keys |= {"privacy.max-grad-norm": 1.0, "privacy.noise-multiplier": multiplier}
    return keys


def epsilon(where: str, multiplier: float, uploads: int) -> float:
    """Return the ε of what has noise."""
    steps = multiplier if where == BOTH else 0.0
    account = PrivacyAccount(multiplier, DELTA, client_noise_multiplier=steps)
    return account.epsilon(uploads)


def run(algorithm: str, where: str, multiplier: float, rounds: int, seed: int) -> dict[str, Any]:
    """Train once; return the test accuracy of the last round and ε."""
    values = {"algorithm": algorithm, "num-server-rounds": rounds, "seed": seed, "device": "cpu",
              **noise(where, multiplier)}  # fmt: skip
    config = RunConfig.from_run_config(values)
    strategy = build_strategy(config, build_task(config))
    nodes = MemoryGrid(app, CLIENTS, run_config=values)
    arrays = strategy.start(nodes, strategy.initial_arrays(), num_rounds=rounds).arrays
    accuracy = strategy.evaluate(arrays, build_test_batches(config)).accuracy
    spent = epsilon(where, multiplier, strategy.sample_uploads.largest) if multiplier else None
    return {"accuracy": round(accuracy, 4), "epsilon": spent and round(spent, 2)}


def draw(file: Path, picture: Path) -> None:
    """Draw accuracy over ε, a line for each algorithm and place of the noise."""
    from matplotlib import pyplot as plt

    table = pd.read_csv(file)
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    shown = {SMASHED: "-", STEPS: ":", BOTH: "--"}
    for (algorithm, where), rows in table[table["multiplier"] > 0].groupby(["algorithm", "where"]):
        style = ALGORITHMS[str(algorithm)].style
        means = rows.groupby("epsilon")["accuracy"].mean()
        axes.plot(
            means.index, 100 * means, shown[str(where)], marker=style.marker if style else "o",
            color=style.colour if style else None, markersize=4,
            label=f"{label_of(str(algorithm))}, noise on {where}",
        )  # fmt: skip
    axes.set(
        xscale="log", ylim=(0, 100), xlabel=f"ε of what has noise, at δ = {DELTA:g}",
        ylabel="test accuracy, %", title="Digits, 10 clients, 20 rounds",
    )  # fmt: skip
    axes.axhline(10, color="0.6", linewidth=0.8)
    axes.legend(fontsize="small")
    figure.savefig(picture, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[200])
    parser.add_argument("--algorithms", nargs="+", default=["fsl_sage", "sl_single_server"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.csv.exists():
        given.csv.write_text(",".join([*KEYS, "accuracy", "epsilon"]) + "\n", encoding="utf-8")
    with given.csv.open(encoding="utf-8") as file:
        done = {tuple(row[key] for key in KEYS) for row in csv.DictReader(file)}
    for seed in given.seeds:
        for algorithm in given.algorithms:
            for multiplier in (0.0, *MULTIPLIERS):
                for where in (SMASHED, STEPS, BOTH):
                    row = (algorithm, where, str(multiplier), str(seed))
                    if row in done:
                        continue
                    figures = run(algorithm, where, multiplier, given.rounds, seed)
                    with given.csv.open("a", newline="", encoding="utf-8") as file:
                        values = [*row, figures["accuracy"], figures["epsilon"]]
                        csv.writer(file, lineterminator="\n").writerow(values)
                    print(*row, figures, flush=True)
    if given.picture is not None:
        draw(given.csv, given.picture)


if __name__ == "__main__":
    main()
