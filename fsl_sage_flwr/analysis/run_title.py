"""Summarise in one line what the compared runs have in common."""

from pathlib import PurePath
from typing import Any

import pandas as pd

from .comparison import Comparison
from .declared import label_of
from .differences import is_missing
from .labels import settings_text
from .load_results import CLIENTS

_DISTRIBUTION = ("distribution", "alpha", "shards-per-client")


def run_title(comparison: Comparison) -> str:
    """Return the common settings: ``FSL-SAGE: resnet18 on cifar10, 10 clients, α = 0.1``.

    Differing settings are left out; a picture shows them by lines, panels or its axis.
    """
    runs = comparison.rounds.drop_duplicates("run")
    algorithm, model, dataset = (_shared(runs, key) for key in ("algorithm", "model", "dataset"))
    parts = [" on ".join(PurePath(str(name)).name for name in (model, dataset) if name is not None)]
    if (clients := _shared(runs, CLIENTS)) is not None:
        parts.append(f"{clients} client{'' if clients == 1 else 's'}")
    parts.append(settings_text({key: _shared(runs, key) for key in _DISTRIBUTION}))
    text = ", ".join(part for part in parts if part)
    return text if algorithm is None else f"{label_of(str(algorithm))}: {text}"


def _shared(runs: pd.DataFrame, key: str) -> Any:
    """Return the common value of all runs; None if they differ, or if it has no effect."""
    values = set(runs[key]) if key in runs else {None}
    value = values.pop()
    return None if values or is_missing(value) else value
