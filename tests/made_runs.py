"""Write run directories as a run does, with numbers that a reader can add up."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.runs.csv_tables import CLIENT_COLUMNS, HISTORY_COLUMNS
from fsl_sage_flwr.runs.directory import RunDirectory

MIB = 2**20


def make_run(
    root: Path,
    accuracies: Sequence[float],
    *,
    mib_a_round: float = 1.0,
    clients: int | None = 4,
    head: int | None = 100,
    completed: bool = True,
    status: str = "completed",
    row: dict[str, Any] | None = None,
    client_rows: Sequence[dict[str, Any]] = (),
    recorded: bool = False,
    **settings: Any,
) -> Path:
    """Write a run with these test accuracies, one a round; return its directory.

    A round takes 2 seconds; of them each client trains 0.5 s, the server 0.25 s, and
    alignment takes 0.125 s. The reference counts half of the bytes. ``client_rows`` are rows of
    ``clients.csv`` in every round. ``recorded`` also writes the keys without effect, which runs of
    earlier versions lack.
    """
    given = {key.replace("_", "-"): value for key, value in settings.items()}
    own = {"results-dir": str(root), "num-server-rounds": len(accuracies)}
    config = RunConfig.unchecked({**own, **given})
    if not config.run_name:
        values = [f"{v}".replace("/", "") for key, v in settings.items() if key != "algorithm"]
        config = replace(config, run_name="-".join(values) or "run")
    run = RunDirectory(run_path(config))
    run.write_config(config.to_run_config())
    if recorded:
        run.write_unused_keys(config.unused_keys())
    if clients is not None:
        federation = {
            "num-supernodes": clients,
            "client-resources-num-cpus": 1,
            "client-resources-num-gpus": 0.0,
        }
        (run.path / "federation.json").write_text(json.dumps(federation), encoding="utf-8")
    run.write_history([], [])
    for number, accuracy in enumerate(accuracies, start=1):
        count = int(number * mib_a_round * MIB)
        run.append_history(
            {
                **dict.fromkeys(HISTORY_COLUMNS, 0),
                "validation_accuracy": None,
                "alignment_cosine": None,
                "round": number,
                "test_accuracy": accuracy,
                "test_loss": 2 * (1 - accuracy),
                "comm_bytes": count,
                "comm_bytes_reference": count // 2,
                "seconds": 2.0,
                "client_step_seconds": 0.5 * (clients or 4),
                "server_seconds": 0.25,
                "alignment_seconds": 0.125,
                "clients": clients or 4,
                **(row or {}),
            },
            [
                {**dict.fromkeys(CLIENT_COLUMNS), **client, "round": number}
                for client in client_rows
            ],
        )
    summary: dict[str, Any] = {"completed": completed, "status": status}
    if head is not None:
        summary["auxiliary_parameters"] = head
    run.write_summary(summary)
    return run.path
