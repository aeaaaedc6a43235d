"""Find the settings that differ between runs and affect them."""

import math
from typing import Any

import pandas as pd

from .declared import known_settings, unused_keys
from .load_results import CLIENTS, UNUSED


def defines_an_experiment(key: str) -> bool:
    """Return whether a key is a setting of the experiment, not of the way of running it."""
    declared = known_settings().get(key)
    return declared is None or declared.scope != "execution"


def is_missing(value: Any) -> bool:
    """Return whether a key has no value or no effect in a run."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def without_unused_settings(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the values of keys that have no effect in their run."""
    known = [key for key in known_settings() if key in rounds]
    unused: dict[str, list[str]] = {}
    for _, run in rounds.drop_duplicates("run").iterrows():
        values = {key: run[key] for key in known if not is_missing(run[key])}
        recorded = run.get(UNUSED)
        names = None if is_missing(recorded) else str(recorded).split()
        for key in unused_keys(values, names):
            unused.setdefault(key, []).append(str(run["run"]))
    changed = {
        key: rounds[key].astype(object).mask(rounds["run"].isin(runs), None)
        for key, runs in unused.items()
        if key in rounds
    }
    # A copy, because a frame with that many new columns is fragmented, of which pandas warns.
    return rounds.assign(**changed).copy()


def differing_settings(rounds: pd.DataFrame) -> list[str]:
    """Return the settings with several values among the runs that they affect."""
    known = list(known_settings())
    other = {str(key) for key in rounds} - set(known) - {"bytes"}
    keys = [key for key in known if key in rounds and defines_an_experiment(key) and key != "seed"]
    keys += [CLIENTS] if CLIENTS in rounds else []
    # A hyphen or a dot marks the keys of another project's algorithm, or of a later version.
    keys += sorted(key for key in other if set("-.") & set(key) and key != CLIENTS)
    per_run = rounds.drop_duplicates("run")
    differing = []
    for key in keys:
        values = {repr(value) for value in per_run[key] if not is_missing(value)}
        if len(values) > 1:
            differing.append(key)
    return ["algorithm", *(key for key in differing if key != "algorithm")]
