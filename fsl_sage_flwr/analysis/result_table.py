"""Build tables of results: one row per setting, with mean and spread over the seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ..units import MIB, mib
from .comparison import HOURS, KILOJOULES, Comparison, run_figures
from .declared import label_of
from .labels import place, value_place, value_text
from .seed_table import by_seed, mean_text, over_all_seeds
from .spread import SUFFIXES

TableFormat = Literal["markdown", "csv", "latex"]


def results_table(comparison: Comparison) -> pd.DataFrame:
    """Return one row per setting, with unformatted numbers.

    Returns
    -------
    DataFrame
        The settings; ``seeds``, the number of seeds; for each figure of :func:`run_figures` its
        ``…_mean`` over the seeds and ``…_std``, the sample standard deviation, or ``…_ci95``, half
        of the mean's confidence interval (NaN for one seed); shares are between 0 and 1,
        communication is in bytes; ``reached``, the number of seeds that reached the target. Runs of
        the same setting and seed are averaged first, so that each seed counts once.
    """
    runs = run_figures(comparison)
    keys, spread = list(comparison.settings), comparison.spread
    figures = [column.figure for column in columns_of(comparison)]
    seeds = by_seed(runs, keys, figures)
    table = over_all_seeds(seeds, keys, figures, spread)
    table = table.rename(columns={figure: f"{figure}_mean" for figure in figures})
    groups = seeds.groupby(keys, dropna=False, sort=False)
    table["reached"] = groups["bytes_to_target"].count().to_numpy()
    return table.loc[setting_order(table, keys)].reset_index(drop=True)


def readable_table(comparison: Comparison) -> pd.DataFrame:
    """Return :func:`results_table` as text: ``mean ± spread``, percent and MiB."""
    table, suffix = results_table(comparison), SUFFIXES[comparison.spread]
    text = pd.DataFrame(index=table.index)
    for key in comparison.settings:
        name = label_of if key == "algorithm" else value_text
        text[key] = [name(value) for value in table[key]]
    text["seeds"] = table["seeds"].astype(str)
    for column in columns_of(comparison):
        figure = column.figure
        pairs = zip(table[f"{figure}_mean"], table[f"{figure}_{suffix}"], strict=True)
        text[column.heading] = [column.cell(mean, spread) for mean, spread in pairs]
        if column.figure.endswith("to_target"):
            text[column.heading] = [
                cell if reached in (0, seeds) else f"{cell} ({reached} of {seeds})"
                for cell, reached, seeds in
                zip(text[column.heading], table["reached"], table["seeds"], strict=True)
            ]  # fmt: skip
    return text


def format_table(comparison: Comparison, how: TableFormat) -> str:
    """Return the table as Markdown, as LaTeX (which needs ``booktabs``), or as CSV.

    CSV has the unformatted numbers of :func:`results_table`, for programs; Markdown and LaTeX are
    for readers.
    """
    if how == "csv":
        return results_table(comparison).to_csv(index=False)
    return formatted(readable_table(comparison), len(comparison.settings), how)


def formatted(text: pd.DataFrame, settings: int, how: TableFormat) -> str:
    """Return a table of texts as Markdown or LaTeX, its first columns of settings aligned left."""
    if how == "markdown":
        alignment = ["left"] * settings + ["right"] * (text.shape[1] - settings)
        return f"{text.to_markdown(index=False, colalign=alignment, disable_numparse=True)}\n"
    layout = "l" * settings + "r" * (text.shape[1] - settings)
    latex = _latex_escaped(text).to_latex(index=False, escape=False, column_format=layout)
    return "% \\usepackage{booktabs}\n" + latex


@dataclass(frozen=True)
class Column:
    """A figure of the table: its name in :func:`run_figures`, its heading, unit and text."""

    figure: str
    heading: str
    number: Callable[[float], str]
    unit: float = 1.0

    def cell(self, mean: float, spread: float) -> str:
        """Return a mean with its spread, which is NaN for one seed."""
        return mean_text(mean, spread, self.number)


def columns_of(comparison: Comparison) -> list[Column]:
    """Return the figures of a comparison, in the order of the table."""
    measure, budget = comparison.measure, f"{mib(comparison.budget)} MiB"
    target, name = comparison.target_text, measure.name
    unit, own = " (%)" if measure.in_percent else "", 1 / measure.scale
    clock = [
        Column(f"{figure}{suffix}", f"{heading}{words}", _three_digits)
        for figure, heading in ((HOURS, "hours"), (KILOJOULES, "kJ"))
        if figure in comparison.rounds
        for suffix, words in (("_to_target", f" to {target}"), ("", " in all"))
    ]
    return [
        Column(f"final_{name}", f"final {measure.heading}", measure.number, own),
        Column(f"best_{name}", f"best {measure.heading}", measure.number, own),
        Column("bytes_to_target", f"MiB to {target}", mib, MIB),
        Column("rounds_to_target", f"rounds to {target}", _plain),
        Column(f"{name}_at_budget", f"{name} at {budget}{unit}", measure.number, own),
        Column("bytes", "MiB in all", mib, MIB),
        Column("rounds", "rounds", _plain),
        Column("seconds", "seconds", _seconds),
        *clock,
    ]


def _plain(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _three_digits(value: float) -> str:
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:,.1f}"


def setting_order(table: pd.DataFrame, keys: list[str]) -> list[int]:
    """Return the rows' places by algorithm, in the usual order, then by the other settings."""
    first, *others = keys
    return sorted(
        range(len(table)),
        key=lambda i: [place(table[first][i]), *(value_place(table[key][i]) for key in others)],
    )


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--",
}  # fmt: skip


def _latex_escaped(text: pd.DataFrame) -> pd.DataFrame:
    escapes = str.maketrans(_LATEX)
    escaped = text.map(lambda cell: cell.translate(escapes))
    escaped.columns = [str(name).translate(escapes) for name in escaped.columns]
    return escaped
