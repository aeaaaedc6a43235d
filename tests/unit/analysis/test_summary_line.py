"""What a run's last lines say, with an accuracy and without one."""

import math
from typing import Any

import pytest
from rich.console import Console

from fsl_sage_flwr.analysis.summary_line import summary_line
from fsl_sage_flwr.simulations.progress import table

SUMMARY: dict[str, Any] = {
    "final_accuracy": 0.5, "final_loss": 1.0, "best_accuracy": 0.75, "best_loss": 0.5,
    "best_round": 2, "comm_bytes": 2**20, "comm_bytes_reference": 2**21, "seconds": 3.0,
    "figures": {},
}  # fmt: skip


def said(summary: dict[str, Any]) -> list[str]:
    console = Console(record=True, width=80)
    console.print(table(summary, 9.5))
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_with_an_accuracy() -> None:
    assert said(SUMMARY)[:2] == [
        "final test accuracy 50.00 %",
        "best test accuracy 75.00 % (round 2)",
    ]


def test_without_one_it_is_the_loss_and_what_else_was_measured() -> None:
    summary = {**SUMMARY, "final_accuracy": None, "best_accuracy": None, "figures": {"bleu": 61.25}}
    assert said(summary)[:3] == [
        "final test loss 1.0000", "best test loss 0.5000 (round 2)", "bleu 61.25",
    ]  # fmt: skip


@pytest.mark.parametrize("missing", [None, math.nan])
def test_what_is_not_there_is_no_accuracy(missing: float | None) -> None:
    assert summary_line(missing, 2.5) == "loss 2.5000"
    assert summary_line(0.5, 2.5) == "50.00 %"
