"""Build one self-contained HTML page: settings, tables, pictures and all runs."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..runs.provenance import OF_ONE_RUN
from ..units import mib
from .comparison import HOURS, Comparison
from .declared import known_settings, label_of, unused_keys
from .differences import differing_settings, is_missing
from .labels import NOTHING, settings_text, value_place, value_text
from .load_results import CLIENTS, ResultsError, Run
from .measure import measure_of
from .pictures import Picture, draw_all, encoded
from .pictures.dark import fit_to_scheme
from .protocols import budgets_of, readable_protocols
from .provenance import provenance_of
from .repeat import command_line
from .result_table import readable_table
from .robustness import FAULTS, disturbed_runs
from .run_chart import chart_data, chart_html
from .run_state import state_of
from .run_table import rounds_text
from .run_title import run_title
from .spread import NAMES

_RUN_COLUMNS = (
    "run", "status", "rounds", "judged by", "last round", "best round", "MiB in all", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class _Image:
    """A picture on the page.

    Each SVG is embedded as a separate image, so that ids of different SVGs cannot clash.
    """

    title: str
    caption: str
    source: str
    is_wide: bool


def report_page(
    directory: Path, runs: list[Run], comparison: Comparison, bandwidth: float, written: datetime
) -> str:
    """Return the page as HTML.

    It needs no network and suits dark screens and paper. Without JavaScript it has no chart of all
    runs.

    Parameters
    ----------
    directory : Path
        Directory of the results; its name is the page's title.
    runs : list of Run
        All runs, including those that are not compared.
    comparison : Comparison
        The comparison of the completed runs.
    bandwidth : float
        Bandwidth of a client's link, Mbit/s.
    written : datetime
        Time of writing.
    """
    labels = [_label(run, comparison.settings) for run in runs]
    pictures, not_drawn = draw_all(comparison, bandwidth)
    table, protocols = readable_table(comparison), _protocols(comparison)
    environment = Environment(
        loader=PackageLoader("fsl_sage_flwr.analysis", "templates"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        title=directory.resolve().name,
        version=metadata.version("fsl-sage-flwr"),
        written=written.strftime("%Y-%m-%d %H:%M %Z").strip(),
        what=run_title(comparison),
        runs=runs,
        completed=sum(run.completed for run in runs),
        notes=[*comparison.notes, *not_drawn],
        differing=_differing(comparison),
        common=_common(comparison),
        columns=list(table.columns),
        measure=comparison.measure.name,
        mean=f", as a mean of {comparison.mean_of} rounds," if comparison.mean_of > 1 else "",
        spread=NAMES[comparison.spread],
        rows=table.to_numpy().tolist(),
        left=len(comparison.settings),
        protocols=None if protocols is None else [list(protocols.columns), *protocols.to_numpy()],
        images=[
            _Image(
                picture.title,
                picture.caption,
                _svg_source(picture),
                picture.is_wide,
            )
            for picture in pictures
        ],
        command_line=command_line,
        is_default=_is_default,
        run_columns=_RUN_COLUMNS,
        run_rows=[_run_row(run, label) for run, label in zip(runs, labels, strict=True)],
        labels=labels,
        made_with=_made_with(runs),
        provenance=provenance_of,
        chart=chart_html(chart_data(runs, labels)),
    )


def _svg_source(picture: Picture) -> str:
    svg = fit_to_scheme(encoded(picture, "svg"))
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _protocols(comparison: Comparison) -> pd.DataFrame | None:
    """Return the table of three protocols; None for runs without a clock and without faults."""
    rounds = comparison.rounds
    if HOURS not in rounds and not set(FAULTS) & set(comparison.settings):
        return None
    target = comparison.target if comparison.target_is_given else None
    try:
        found = disturbed_runs(rounds, target=target, mean_of=comparison.mean_of)
    except ResultsError:  # no undisturbed run
        return None
    return readable_protocols(found, budgets_of(found.comparison, {}))


def _differing(comparison: Comparison) -> list[tuple[str, str]]:
    """Return each differing setting with its values as text."""
    runs = comparison.rounds.drop_duplicates("run")
    settings = []
    for key in [*comparison.settings, "seed"]:
        values = sorted((v for v in set(runs[key]) if not is_missing(v)), key=value_place)
        name = label_of if key == "algorithm" else value_text
        settings.append((key, ", ".join(name(value) for value in values)))
    return settings


def _common(comparison: Comparison) -> list[tuple[str, Any, bool]]:
    """Return the keys with a common value in all compared runs, and whether it is the default."""
    runs = comparison.rounds.drop_duplicates("run")
    differing = {*differing_settings(comparison.rounds), "seed"}
    common = []
    for key in known_settings():
        values = [value for value in runs.get(key, []) if not is_missing(value)]
        if key not in differing and len(set(values)) == 1:
            common.append((key, value_text(values[0]), _is_default(key, values[0])))
    return common


def _is_default(key: str, value: Any) -> bool:
    declared = known_settings().get(key)
    return declared is not None and bool(declared.default == value)


def _run_row(run: Run, label: str) -> list[str]:
    """Return a run's cells in the order of ``_RUN_COLUMNS``."""
    history = run.history
    row = [label, state_of(run), rounds_text(run)]
    if history.empty:
        return [*row, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING]
    measure = measure_of(history)
    values = history[measure.column]
    return [
        *row,
        measure.heading,
        measure.number(float(values.iloc[-1])),
        measure.number(measure.best(values)),
        mib(history["comm_bytes"].iloc[-1]),
        f"{history['seconds'].sum():,.1f}",
    ]


def _made_with(runs: list[Run]) -> list[tuple[str, str]]:
    """Return the recorded versions and machines of the runs, with all values of a key."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for key, value in provenance_of(run.path).items():
            if key not in OF_ONE_RUN:
                found.setdefault(key, {})[value] = None
    return [(key, ", ".join(values)) for key, values in found.items()]


def _label(run: Run, settings: Sequence[str]) -> str:
    """Return a name that distinguishes runs by their settings, or else the directory's name."""
    config = run.config
    if not config:
        return run.name
    keys = dict.fromkeys(["distribution", "alpha", *settings])
    unused = {"algorithm", *unused_keys(config, run.unused_keys)}
    known = {**config, CLIENTS: run.federation.get(CLIENTS)}
    shown = settings_text({key: known.get(key) for key in keys if key not in unused})
    return f"{label_of(str(config.get('algorithm')))}, {shown}, seed {config.get('seed')}"
