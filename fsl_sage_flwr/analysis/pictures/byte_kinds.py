"""Draw the bytes by kind (client halves, heads, smashed data, gradients) as stacked areas."""

import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ...byte_columns import BYTE_COLUMNS, DIRECTIONS
from ...units import byte_unit
from ..comparison import Comparison
from ..declared import label_of
from .panels import MOST_PANELS, NothingToDrawError, panels_of
from .style import COLUMN, Picture, grid_of_axes, label_axes, picture_style, styles

# Okabe and Ito's colours, from the bottom to the top of the stack.
KINDS = {
    "client_half": "#0072B2",
    "full_model": "#56B4E9",
    "auxiliary": "#009E73",
    "smashed": "#E69F00",
    "gradients": "#D55E00",
    "labels": "#CC79A7",
    "other": "#7F7F7F",
}
# Downwards is plain, upwards is hatched.
_HATCHES = {"down": "", "up": "////"}
# A kind with a smaller share of its panel's bytes is too thin to see.
_THIN = 0.005


def sent_bytes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the bytes of each kind since the start of the run, over the rounds of all runs.

    Returns
    -------
    DataFrame
        By round: a column per column of the ledger, the mean over the runs.
    """
    columns = [column for column in BYTE_COLUMNS if column in runs]
    by_round = runs.groupby("round")
    whole = by_round["run"].nunique() == runs["run"].nunique()
    return by_round[columns].mean()[whole].astype(float).cumsum()


def bytes_by_kind(comparison: Comparison) -> Picture:
    """Draw the measured bytes over the rounds, stacked by direction and kind.

    There is a panel per algorithm and setting.

    Raises
    ------
    NothingToDrawError
        The runs have no bytes by kind, or there are too many panels.
    """
    look = styles(comparison.rounds["algorithm"].tolist())
    panels = [
        (f"{label_of(name)}{f', {panel.title}' if panel.title else ''}", sent_bytes(runs))
        for panel in panels_of(comparison)
        for name, runs in panel.by_algorithm(look)
    ]
    panels = [(title, sent) for title, sent in panels if sent.sum().sum() > 0]
    if not panels:
        raise NothingToDrawError("the runs have no bytes by kind")
    if len(panels) > MOST_PANELS:
        raise NothingToDrawError(
            f"{len(panels)} panels, one per algorithm and setting; draw fewer runs (at most "
            f"{MOST_PANELS} panels)"
        )
    unit, unit_name = byte_unit(max(float(sent.iloc[-1].sum()) for _, sent in panels))
    drawn = dict[str, None]()
    with picture_style():
        figure, axes = grid_of_axes(len(panels), share_y=False)
        for (title, sent), ax in zip(panels, axes, strict=True):
            total = float(sent.iloc[-1].sum())
            below = pd.Series(0.0, index=sent.index)
            for column in _stack(sent):
                direction, kind = _parts(column)
                above = below + sent[column] / unit
                ax.fill_between(sent.index.astype(int), below, above, facecolor=KINDS[kind],
                                hatch=_HATCHES[direction], edgecolor="white",
                                linewidth=0.2)  # fmt: skip
                below = above
                if sent[column].iloc[-1] > _THIN * total:
                    drawn[column] = None
            ax.set_title(title)
            ax.set_ylim(bottom=0.0)
            ax.margins(x=0.0)
        axes[0].xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        label_axes(axes, "round", f"communication ({unit_name})")
        handles = [
            Patch(facecolor=KINDS[kind], hatch=_HATCHES[direction], edgecolor="white",
                  linewidth=0.2, label=f"{kind.replace('_', ' ')} {direction}")
            for direction, kind in map(_parts, _stack(pd.DataFrame(columns=[*drawn])))
        ]  # fmt: skip
        columns = 3 if figure.get_figwidth() <= COLUMN else 6
        figure.legend(handles=handles, loc="outside lower center", handlelength=1.6,
                      ncols=min(columns, len(handles)), columnspacing=1.2)  # fmt: skip
    return Picture(
        name="bytes-rounds",
        title="Bytes by kind",
        caption=(
            "Bytes of all messages' contents (without Flower's framing), of all clients since the "
            "start, as measured, by kind: down is "
            "from the server to the clients, up (hatched) is from them. Means over the seeds. Each "
            "panel has its own vertical axis."
        ),
        figure=figure,
    )


def _stack(sent: pd.DataFrame) -> list[str]:
    """Return the columns from bottom to top: by kind, downwards before upwards."""
    order = [f"{direction}_{kind}_bytes" for kind in KINDS for direction in DIRECTIONS]
    return [column for column in order if column in sent]


def _parts(column: str) -> tuple[str, str]:
    direction, _, kind = column.removesuffix("_bytes").partition("_")
    return direction, kind
