"""Choose the measure of comparisons: accuracy, or else perplexity or loss."""

import math
from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Measure:
    """A column of the history by which runs are compared.

    Attributes
    ----------
    name : str
        Name in tables, pictures and figure names.
    column : str
        Column in the history.
    higher_is_better : bool
        Whether the best round has the highest value.
    in_percent : bool
        Whether the value is a share, 0 to 1, shown in percent.
    """

    name: str
    column: str
    higher_is_better: bool = False
    in_percent: bool = False

    @property
    def scale(self) -> float:
        """Factor from a value to the shown number."""
        return 100.0 if self.in_percent else 1.0

    @property
    def heading(self) -> str:
        """Name with unit."""
        return f"{self.name} (%)" if self.in_percent else self.name

    def best(self, values: "pd.Series[float]") -> float:
        """Return the best of several values."""
        return float(values.max() if self.higher_is_better else values.min())

    def best_place(self, values: "pd.Series[float]") -> Hashable:
        """Return the index of the first best value."""
        return values.idxmax() if self.higher_is_better else values.idxmin()

    def reached(self, values: "pd.Series[float]", target: float) -> "pd.Series[bool]":
        """Return a mask of the values that reach the target."""
        return values >= target if self.higher_is_better else values <= target

    def common_target(self, bests: "pd.Series[float]") -> tuple[float, str]:
        """Return a rounded target that all best values reach, and how it was chosen."""
        if self.higher_is_better:
            return math.floor(100 * float(bests.min()) + 1e-9) / 100, "the highest whole percent"
        return math.ceil(100 * float(bests.max()) - 1e-9) / 100, "the lowest"

    def text(self, value: float) -> str:
        """Return a value with its unit: ``97.5 %`` or ``3.21``."""
        return f"{round(self.scale * value, 2):g}{' %' if self.in_percent else ''}"

    def number(self, value: float) -> str:
        """Return a value as a table cell, without the unit of the heading."""
        return f"{self.scale * value:.2f}" if self.in_percent else f"{value:.3f}"


ACCURACY = Measure("accuracy", "test_accuracy", higher_is_better=True, in_percent=True)
PERPLEXITY = Measure("perplexity", "test_perplexity")
LOSS = Measure("loss", "test_loss")


def measure_of(rounds: pd.DataFrame) -> Measure:
    """Return the first of accuracy, perplexity and loss that all rounds have."""
    for measure in (ACCURACY, PERPLEXITY):
        if measure.column in rounds and rounds[measure.column].notna().all():
            return measure
    return LOSS
