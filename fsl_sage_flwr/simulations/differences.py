"""Find the settings that differ between runs and affect them."""

import math
from typing import Any

import pandas as pd

from ..app.config import RunConfig, all_defaults
from .load_results import CLIENTS
from .sweeps.combinations import NOT_PART_OF_A_RUN

NOT_A_SETTING = NOT_PART_OF_A_RUN | {"seed"}


def is_missing(value: Any) -> bool:
    """Return whether a key has no value or no effect in a run."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def without_unused_settings(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the values of keys that have no effect in their run."""
    known = [key for key in all_defaults() if key in rounds]
    unused: dict[str, list[str]] = {}
    for _, run in rounds.drop_duplicates("run").iterrows():
        values = {key: run[key] for key in known if not is_missing(run[key])}
        for key in RunConfig.unchecked(values).unused_keys():
            unused.setdefault(key, []).append(str(run["run"]))
    changed = {
        key: rounds[key].astype(object).mask(rounds["run"].isin(runs), None)
        for key, runs in unused.items()
        if key in rounds
    }
    return rounds.assign(**changed)


def differing_settings(rounds: pd.DataFrame) -> list[str]:
    """Return the settings with several values among the runs that they affect."""
    known = list(all_defaults())
    other = {str(key) for key in rounds} - set(known) - {"bytes"}
    keys = [key for key in [*known, CLIENTS] if key in rounds and key not in NOT_A_SETTING]
    # A hyphen or a dot marks the keys of another project's algorithm, or of a later version.
    keys += sorted(key for key in other if set("-.") & set(key) and key != CLIENTS)
    per_run = rounds.drop_duplicates("run")
    differing = []
    for key in keys:
        values = {repr(value) for value in per_run[key] if not is_missing(value)}
        if len(values) > 1:
            differing.append(key)
    return ["algorithm", *(key for key in differing if key != "algorithm")]
