"""Compare accuracies with the paper's research script, on 2,000 images of CIFAR-10.

    python -m benchmarks.parity --dataset DIR [--seeds 200 201 202] [--variants …]

DIR holds the first 2,000 training and 1,000 test images of CIFAR-10. ResNet-18, 4 clients,
iid, batches of 50, q = 2, l = 2, Adam 1e-3, with the script's alignment recipe (10 epochs of
batches of 100 on 200 samples, random heads, constant rate) and with this package's default.
The script's figures are means and deviations over the same seeds, from runs of the script.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate

ROUNDS = (1, 5, 10)
COMMON: dict[str, object] = {
    "model": "resnet18", "num-server-rounds": 10, "batch-size": 50, "learning-rate": 1e-3,
    "server-learning-rate": 1e-3, "server-update-interval": 2, "align.interval": 2,
    "checkpoint-interval": 0,
}  # fmt: skip
SCRIPT_RECIPE: dict[str, object] = {
    "align.epochs": 10, "align.batch-size": 100, "align.dataset-size": 200,
    "auxiliary.init": "random", "align.lr-schedule": "constant",
}  # fmt: skip
# The script's "FedAvg" shares one server half among its clients; ours is the usual FedAvg.
VARIANTS: dict[str, dict[str, object]] = {
    "fsl_sage, the script's recipe": {"algorithm": "fsl_sage", **SCRIPT_RECIPE},
    "fsl_sage, default recipe": {"algorithm": "fsl_sage"},
    "cse_fsl": {"algorithm": "cse_fsl"},
    "sl_single_server": {"algorithm": "sl_single_server"},
    "sl_multi_server": {"algorithm": "sl_multi_server"},
    "fed_avg": {"algorithm": "fed_avg"},
}
# Accuracy in per cent (mean, deviation) after rounds 1, 5 and 10, and bytes after 10.
SCRIPT = {
    "fsl_sage": ([(20.6, 3.2), (33.5, 1.4), (41.8, 2.8)], 469_512_000),
    "cse_fsl": ([(19.3, 3.0), (36.0, 1.8), (44.3, 1.6)], 974_676_480),
    "sl_single_server": ([(18.4, 1.1), (39.5, 1.7), (42.7, 3.3)], 546_883_840),
    "sl_multi_server": ([(15.0, 0.7), (37.3, 3.8), (44.4, 1.2)], 546_883_840),
    "fed_avg": ([(15.1, 1.2), (39.7, 0.5), (44.3, 1.8)], 3_581_210_240),
}


def measure(settings: dict[str, object], seeds: list[int], dataset: str) -> list[pd.DataFrame]:
    """Return the history of each seed's run."""
    histories = []
    with tempfile.TemporaryDirectory() as results:
        for seed in seeds:
            config = RunConfig.from_run_config(
                {**COMMON, **settings, "dataset": dataset, "seed": seed, "results-dir": results}
            )
            summary, path = simulate(config, Federation(clients=4))
            if not summary["completed"]:
                raise SystemExit(f"the run failed: {summary}")
            history = pd.read_csv(path / "history.csv")
            if history["failures"].any():
                raise SystemExit(f"clients were left out of rounds: {path}/history.csv")
            histories.append(history)
    return histories


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare with the research script.")
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201, 202])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    print("| | round 1 | round 5 | round 10 | bytes after 10 rounds |")
    print("|---|---|---|---|---|")
    for algorithm, (figures, count) in SCRIPT.items():
        cells = " | ".join(f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in figures)
        print(f"| {algorithm}, research script | {cells} | {count:,} |", flush=True)
    for name in options.variants:
        dataset = str(options.dataset.absolute())
        histories = measure(VARIANTS[name], options.seeds, dataset)
        accuracy = 100 * pd.DataFrame([h.set_index("round")["test_accuracy"] for h in histories])
        means, deviations = accuracy.mean(), accuracy.std()
        cells = " | ".join(f"{means[r]:.1f} ± {deviations[r]:.1f}" for r in ROUNDS)
        totals = {int(h["comm_bytes_reference"].iloc[-1]) for h in histories}
        print(f"| {name} | {cells} | {', '.join(f'{t:,}' for t in totals)} |", flush=True)


if __name__ == "__main__":
    main()
