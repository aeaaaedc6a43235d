"""Read what the clients did in each round of a run, for the virtual clock."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..byte_columns import BYTE_COLUMNS
from ..clock.work import Flops, RoundWork
from ..config.key_table import with_own_new_names
from ..runs.directory import RunDirectory
from .client_rows import client_rows
from .load_results import PATH, ResultsError, read_json

UPLOAD_KEY = "server-update-interval"


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
        return Flops(*(float(found[part]) for part in ("client", "head", "server")))
    except (LookupError, TypeError, ValueError) as error:
        raise ResultsError(f"{file}: client, head and server are needed, as numbers") from error


def works_of(run: pd.DataFrame) -> list[RoundWork]:
    """Return the work of each round of one run.

    Clients that were excluded from a round are left out of it. A client's bytes are divided among
    the kinds of payload as those of all clients are.

    Parameters
    ----------
    run : DataFrame
        Rows of the run, of :func:`load_results`.

    Raises
    ------
    ResultsError
        The run has no rows of clients, or no examples of a client.
    """
    name, path = str(run["run"].iloc[0]), Path(str(run[PATH].iloc[0]))
    rows = client_rows(run)
    if rows.empty or "examples" not in rows:
        raise ResultsError(f"{name}: it has no rows of clients (clients.csv), which time needs")
    config = with_own_new_names(read_json(RunDirectory.config_of(path)))
    rows = rows[rows["failures"] == 0].sort_values(["round", "client"])
    # A client that got no message in a round has no examples in its row.
    rows["examples"] = rows.groupby("client")["examples"].transform(lambda e: e.ffill().bfill())
    if rows["examples"].isna().any():
        raise ResultsError(f"{name}: the number of a client's examples is in no round")
    return list(_works(run, rows, config, flops_recorded(path)))


def _works(
    run: pd.DataFrame, rows: pd.DataFrame, config: Mapping[str, Any], flops: Flops | None
) -> Iterator[RoundWork]:
    held = dict[int, float]()
    by_round = dict(iter(rows.groupby("round")))
    for _, row in run.sort_values("round").iterrows():
        number = int(row["round"])
        if number not in by_round:
            continue
        clients = by_round[number]
        ids = tuple(int(client) for client in clients["client"])
        work = RoundWork(
            number=number,
            clients=ids,
            examples=clients["examples"].to_numpy(float),
            down=_by_kind(row, clients, "down"),
            up=_by_kind(row, clients, "up"),
            batch_size=int(config.get("batch-size") or 1),
            local_epochs=int(config.get("local-epochs") or 1),
            is_new=np.array([client not in held for client in ids]),
            held=np.array([held.get(client, 0.0) for client in ids]),
            config=config,
            flops=flops,
            client_seconds=_number(row, "client_step_seconds"),
            server_seconds=_number(row, "server_seconds"),
            alignment_seconds=_number(row, "alignment_seconds"),
        )
        uploaded = work.samples * work.uploaded_batches(UPLOAD_KEY) / work.batches
        sent = uploaded if work.sends("smashed") else np.zeros(len(ids))
        held.update({c: held.get(c, 0.0) + n for c, n in zip(ids, sent, strict=True)})
        yield work


def _by_kind(
    row: "pd.Series[Any]", clients: pd.DataFrame, direction: str
) -> dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]:
    """Divide the clients' bytes among kinds, as the round's bytes of all clients are."""
    columns = [c for c in BYTE_COLUMNS if c.startswith(f"{direction}_") and c in row]
    sizes = {c: _number(row, c) for c in columns}
    total = sum(sizes.values())
    own = clients[f"{direction}_bytes"].to_numpy(float)
    if not total:
        return {"other": own}
    kinds = {c.removeprefix(f"{direction}_").removesuffix("_bytes"): s for c, s in sizes.items()}
    return {kind: own * size / total for kind, size in kinds.items() if size}


def _number(row: "pd.Series[Any]", column: str) -> float:
    value = row.get(column)
    return 0.0 if value is None or pd.isna(value) else float(value)
