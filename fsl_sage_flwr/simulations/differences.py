"""Which settings differ between runs, and matter to them."""

import math
from typing import Any

import pandas as pd

from ..config import RunConfig
from .load_results import CLIENTS

# Keys that say where and for how long, not what is trained.
NOT_A_SETTING = frozenset(
    {"seed", "run-name", "results-dir", "resume", "device", "round-timeout", "checkpoint-interval"}
)

_HEADS = ("cse_fsl", "fsl_sage")
_SPLIT_FED = ("sl_multi_server", "sl_single_server")
# Keys that only some of the package's own algorithms look at. Another project's algorithm may
# look at any.
_ONLY_FOR = {
    "server-update-interval": _HEADS,
    "auxiliary": _HEADS,
    "auxiliary-learning-rate": _HEADS,
    "auxiliary-lr-schedule": _HEADS,
    "auxiliary-init": ("fsl_sage",),
    "align-interval": ("fsl_sage",),
    "align-epochs": ("fsl_sage",),
    "align-batch-size": ("fsl_sage",),
    "align-dataset-size": ("fsl_sage",),
    "align-lr-schedule": ("fsl_sage",),
    "warm-start": ("fsl_sage",),
    "batches-per-exchange": _SPLIT_FED,
    "server-order": ("sl_single_server",),
}
_OWN = frozenset({"fed_avg", *_SPLIT_FED, *_HEADS})
# Keys that only one value of another key looks at.
_ONLY_WITH = {
    "alpha": ("distribution", "noniid_dirichlet"),
    "shards-per-client": ("distribution", "noniid"),
    "client-max-params": ("cut", "auto"),
    "client-max-flops": ("cut", "auto"),
}


def is_missing(value: Any) -> bool:
    """Tell whether a key has no value (or no effect) in a run."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def without_what_has_no_effect(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a key's value missing where the run does not look at the key."""
    rounds = rounds.copy()
    for key, (other, value) in _ONLY_WITH.items():
        if key in rounds and other in rounds:
            rounds[key] = rounds[key].astype(object).where(rounds[other] == value, None)
    for key, algorithms in _ONLY_FOR.items():
        if key in rounds:
            looks = rounds["algorithm"].isin(algorithms) | ~rounds["algorithm"].isin(_OWN)
            rounds[key] = rounds[key].astype(object).where(looks, None)
    return rounds


def differing_settings(rounds: pd.DataFrame) -> list[str]:
    """Return the settings with more than one value among the runs that they matter to."""
    known = list(RunConfig().to_run_config())
    other = set(rounds) - set(known) - {"bytes"}
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
