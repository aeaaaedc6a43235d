"""Print a table of the runs of ``benchmarks/language_runs.sh``.

    python -m benchmarks.language_runs OUT_DIRECTORY [--csv FILE]

Runs that are not completed are left out.
"""

import argparse
import csv
import json
from pathlib import Path

import pandas as pd

from fsl_sage_flwr.runs.directory import RunDirectory

MIB = 2**20


def figures_of(run: Path) -> dict[str, object]:
    """Return the figures of a completed run."""
    summary = json.loads(RunDirectory.summary_of(run).read_text(encoding="utf-8"))
    config = json.loads(RunDirectory.config_of(run).read_text(encoding="utf-8"))
    last = pd.read_csv(RunDirectory.history_of(run)).iloc[-1]
    return {
        "run": run.name,
        "algorithm": config["algorithm"],
        "cut": config["cut"],
        "seed": config["seed"],
        "test_loss": round(float(last["test_loss"]), 4),
        "test_perplexity": round(float(last["test_perplexity"]), 3),
        "test_token_accuracy": round(float(last["test_token_accuracy"]), 4),
        "bleu": round(float(summary["figures"]["bleu"]), 2),
        "mib": round(float(last["comm_bytes"]) / MIB, 1),
        "alignment_cosine": last["alignment_cosine"],
        "last_round_s": round(float(last["seconds"] - last["evaluation_seconds"]), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    summaries = sorted(given.results.rglob("summary.json"), key=lambda file: file.parent.name)
    runs = [
        file.parent
        for file in summaries
        if json.loads(file.read_text(encoding="utf-8"))["completed"]
    ]
    rows = [figures_of(run) for run in runs]
    print(pd.DataFrame(rows).to_string(index=False))
    if given.csv and rows:
        with given.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
