"""Which settings differ between runs, and matter to them."""

import math
from dataclasses import fields
from typing import Any

import pandas as pd

from ..app.config import RunConfig
from .load_results import CLIENTS
from .sweeps.combinations import NOT_PART_OF_A_RUN
from .sweeps.effect import idle_keys

NOT_A_SETTING = NOT_PART_OF_A_RUN | {"seed"}


def is_missing(value: Any) -> bool:
    """Tell whether a key has no value (or no effect) in a run."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def without_what_has_no_effect(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a key's value missing where it changes nothing in the run."""
    known = {f.name: f.name.replace("_", "-") for f in fields(RunConfig)}
    known = {name: key for name, key in known.items() if key in rounds}
    idle: dict[str, list[str]] = {}
    for _, run in rounds.drop_duplicates("run").iterrows():
        values = {name: run[key] for name, key in known.items() if not is_missing(run[key])}
        # Not checked: what another machine or another project registered is no mistake here.
        for key in idle_keys(RunConfig(**values)):
            idle.setdefault(key, []).append(str(run["run"]))
    changed = {
        key: rounds[key].astype(object).mask(rounds["run"].isin(runs), None)
        for key, runs in idle.items()
        if key in rounds
    }
    return rounds.assign(**changed)


def differing_settings(rounds: pd.DataFrame) -> list[str]:
    """Return the settings with more than one value among the runs that they matter to."""
    known = list(RunConfig().to_run_config())
    other = {str(key) for key in rounds} - set(known) - {"bytes"}
    keys = [key for key in [*known, CLIENTS] if key in rounds and key not in NOT_A_SETTING]
    # Keys of another project's algorithm, or of a later version, are kebab-case too.
    keys += sorted(key for key in other if "-" in key and key != CLIENTS)
    per_run = rounds.drop_duplicates("run")
    differing = []
    for key in keys:
        values = {repr(value) for value in per_run[key] if not is_missing(value)}
        if len(values) > 1:
            differing.append(key)
    return ["algorithm", *(key for key in differing if key != "algorithm")]
