"""Read what the clients did in each round of a run, for the virtual clock."""

from pathlib import Path
from typing import Any, cast

import pandas as pd

from ..clock.recorded import RecordedRounds
from ..clock.work import Flops, RoundWork
from ..config.key_table import with_own_new_names
from ..runs.directory import RunDirectory
from .client_rows import client_rows
from .load_results import PATH, ResultsError, read_json


def flops_recorded(path: Path) -> Flops | None:
    """Return the floating-point operations that a run recorded; None for an earlier version's.

    Raises
    ------
    ResultsError
        Its ``flops.json`` is not readable.
    """
    file = RunDirectory.flops_of(path)
    found = read_json(file)
    if not found:
        return None
    try:
        client, head, server = (float(found[part]) for part in ("client", "head", "server"))
        return Flops(client, head, server, found.get("coding", {}))
    except (LookupError, TypeError, ValueError) as error:
        raise ResultsError(f"{file}: client, head and server are needed, as numbers") from error


def works_of(run: pd.DataFrame) -> list[RoundWork]:
    """Return the work of each round of one run, as :class:`RecordedRounds` reads it.

    Parameters
    ----------
    run : DataFrame
        Rows of the run, of :func:`load_results`.

    Raises
    ------
    ResultsError
        The run has no rows of clients, or none with a number of examples.
    """
    name, path = str(run["run"].iloc[0]), Path(str(run[PATH].iloc[0]))
    rows = client_rows(run)
    if rows.empty or "examples" not in rows or rows["examples"].isna().all():
        raise ResultsError(
            f"{name}: it has no rows of clients with their examples (clients.csv), which time needs"
        )
    config = with_own_new_names(read_json(RunDirectory.config_of(path)))
    recorded = RecordedRounds(config, flops_recorded(path))
    by_round = {
        number: cast(list[dict[str, Any]], clients.to_dict("records"))
        for number, clients in rows.groupby("round")
    }
    history = cast(list[dict[str, Any]], run.sort_values("round").to_dict("records"))
    return [recorded.round(row, by_round.get(row["round"], ())) for row in history]
