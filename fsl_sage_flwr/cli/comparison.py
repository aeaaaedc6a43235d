"""Arguments of the commands that compare results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..analysis.choices import Count, Spread
from ..units import MIB
from .options import above_zero

if TYPE_CHECKING:
    import pandas as pd

    from ..analysis.comparison import Comparison

Target = Annotated[
    float | None,
    typer.Option(
        metavar="ACC",
        parser=above_zero,
        help="target accuracy, 0 to 1, or perplexity or loss, whose cost is reported (default: "
        "the best that every setting reached)",
    ),
]
MeanOf = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="ROUNDS",
        help="number of rounds whose mean is compared with the target and reported at the budget; "
        "1 for single rounds",
    ),
]
BudgetMib = Annotated[
    float | None,
    typer.Option(
        metavar="MIB",
        parser=above_zero,
        help="communication at which runs are compared (default: the smallest total of the runs)",
    ),
]
CountBytes = Annotated[
    Count,
    typer.Option(help="count the bytes of all messages' contents, or as published figures do"),
]
SpreadOverSeeds = Annotated[
    Spread,
    typer.Option(
        help="spread beside a mean over seeds: the standard deviation, or the 95 % confidence "
        "interval of the mean",
    ),
]
Bandwidth = Annotated[
    float,
    typer.Option(
        metavar="MBIT",
        parser=above_zero,
        help="bandwidth of each client's link, Mbit/s, in the picture of times",
    ),
]


def budget_in_bytes(mib: float | None) -> float | None:
    """Return a budget in bytes."""
    return None if mib is None else mib * MIB


def comparison_of(
    results: pd.DataFrame,
    *,
    target: float | None,
    mean_of: int,
    budget_mib: float | None,
    count: Count,
    spread: Spread,
) -> Comparison:
    """Return the comparison of the results, by the command line's options."""
    from ..analysis.comparison import compare

    return compare(
        results, target=target, mean_of=mean_of, budget=budget_in_bytes(budget_mib),
        count=count, spread=spread,
    )  # fmt: skip
