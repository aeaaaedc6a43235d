"""Draw curves of several runs in the terminal."""

from collections.abc import Sequence

import pandas as pd
import plotext
from rich.text import Text

from .load_results import Run
from .measure import measure_of

# Okabe and Ito's colours without black and yellow, visible on dark and light terminals.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
MARK = "━━"
# Smallest useful plot, in columns and rows.
SMALLEST = (30, 8)
_MOST_TICKS = 8


def marks(count: int) -> list[Text]:
    """Return ``count`` marks, in the colours of the runs' curves."""
    return [Text(MARK, style=COLOURS[index % len(COLOURS)]) for index in range(count)]


def curves(runs: Sequence[Run], width: int, height: int) -> Text:
    """Draw the runs' measure over the rounds, one line per run.

    Parameters
    ----------
    runs : sequence of Run
        The runs; those without a finished round have no line.
    width, height : int
        Size in columns and rows of text.

    Returns
    -------
    Text
        Empty if no run has finished a round.
    """
    drawn = [(run, index) for index, run in enumerate(runs) if len(run.history)]
    if not drawn:
        return Text()
    measure = measure_of(pd.concat([run.history for run, _ in drawn]))
    # plotext has one figure per process.
    figure = plotext.figure
    figure.clear()
    figure.plot_size(max(width, SMALLEST[0]), max(height, SMALLEST[1]))
    figure.theme("colorless")
    last = 1
    for run, index in drawn:
        shown = run.history[["round", measure.column]].astype(float).dropna()
        rounds = [int(number) for number in shown["round"]]
        last = max([last, *rounds])
        marker = plotext.marker("braille", _rgb(COLOURS[index % len(COLOURS)]))
        values = (measure.scale * shown[measure.column]).tolist()
        figure.draw(figure.signal(rounds, values, marker=marker).lines())
    step = -(-last // _MOST_TICKS)
    figure.ruler("x").ticks([1, *range(2 * step if step == 1 else step, last + 1, step)])
    figure.ruler("x").lim(1, max(last, 2))
    figure.title(f"test {measure.heading} over rounds")
    return Text.from_ansi(str(figure.build()))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
