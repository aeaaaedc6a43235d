"""One self-contained HTML page: settings, tables, pictures, and every run."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..app.config import all_defaults
from ..registry import label_of
from .comparison import Comparison
from .differences import differing_settings, is_missing
from .load_results import Run
from .measure import measure_of
from .names import settings_text, value_place, value_text
from .pictures import draw_all, encoded
from .repeat import command_line
from .result_table import readable_table


@dataclass(frozen=True)
class _Image:
    """A picture on the page.

    Each SVG is embedded as a separate image, so that ids in different SVGs cannot clash.
    """

    title: str
    caption: str
    source: str
    is_wide: bool


def report_page(directory: Path, runs: list[Run], comparison: Comparison, bandwidth: float) -> str:
    """Return the page.

    The page can be read without a network and without JavaScript, on a dark screen and on paper.

    Parameters
    ----------
    directory : Path
        The directory that was read; its name is the page's title.
    runs : list of Run
        All runs, including those that are not compared.
    comparison : Comparison
        The comparison of the completed runs.
    bandwidth : float
        Bandwidth of a client's link, Mbit/s.
    """
    pictures, not_drawn = draw_all(comparison, bandwidth)
    table = readable_table(comparison)
    environment = Environment(
        loader=PackageLoader("fsl_sage_flwr.simulations", "templates"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        title=directory.resolve().name,
        version=metadata.version("fsl-sage-flwr"),
        runs=runs,
        completed=sum(run.completed for run in runs),
        notes=[*comparison.notes, *not_drawn],
        differing=_differing(comparison),
        common=_common(comparison),
        columns=list(table.columns),
        measure=comparison.measure.name,
        rows=table.to_numpy().tolist(),
        left=len(comparison.settings),
        images=[
            _Image(
                picture.title,
                picture.caption,
                "data:image/svg+xml;base64," + base64.b64encode(encoded(picture, "svg")).decode(),
                picture.is_wide,
            )
            for picture in pictures
        ],
        command_line=command_line,
        is_default=_is_default,
        figures=_figures,
        label=_label,
    )


def _differing(comparison: Comparison) -> list[tuple[str, str]]:
    """Return each setting that differs, with its values as text."""
    runs = comparison.rounds.drop_duplicates("run")
    settings = []
    for key in [*comparison.settings, "seed"]:
        values = sorted((v for v in set(runs[key]) if not is_missing(v)), key=value_place)
        name = label_of if key == "algorithm" else value_text
        settings.append((key, ", ".join(name(value) for value in values)))
    return settings


def _common(comparison: Comparison) -> list[tuple[str, Any, bool]]:
    """Return the keys that all compared runs share: value, and whether it is the default."""
    runs = comparison.rounds.drop_duplicates("run")
    differing = {*differing_settings(comparison.rounds), "seed"}
    common = []
    for key in all_defaults():
        values = [value for value in runs.get(key, []) if not is_missing(value)]
        if key not in differing and len(set(values)) == 1:
            common.append((key, value_text(values[0]), _is_default(key, values[0])))
    return common


def _is_default(key: str, value: Any) -> bool:
    return bool(all_defaults().get(key) == value)


def _figures(run: Run) -> Mapping[str, str]:
    """Return a run's figures as text; empty if no round was finished."""
    if run.history.empty:
        return {}
    history = run.history
    measure = measure_of(history)
    values = history[measure.column]
    return {
        "rounds": f"{len(history)}",
        f"final {measure.heading}": measure.number(values.iloc[-1]),
        f"best {measure.heading}": measure.number(measure.best(values)),
        "MiB in all": f"{history['comm_bytes'].iloc[-1] / 2**20:,.1f}",
        "seconds": f"{history['seconds'].sum():,.1f}",
    }


def _label(run: Run) -> str:
    config = run.config
    if not config:
        return run.name
    data = {"distribution": config.get("distribution")}
    if config.get("distribution") == "noniid_dirichlet":
        data["alpha"] = config.get("alpha")
    name = label_of(str(config.get("algorithm")))
    return f"{name}, {settings_text(data)}, seed {config.get('seed')}"
