"""One simulation, from settings to a finished run directory."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ..config import RunConfig
from ..results import run_path
from ..trackers import require
from .app_directory import write_app
from .progress import follow
from .superlink import SuperLink


@dataclass(frozen=True)
class Federation:
    """Size of the simulated federation and of the machine that it may use.

    Attributes
    ----------
    clients : int
        Virtual clients.
    cpus_per_client : int
        CPU threads of each client at work.
    gpus_per_client : float
        Share of a GPU of each client at work.
    cpus, gpus : float or None
        What Ray may use in all; None is everything there is.
    """

    clients: int = 4
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0
    cpus: int | None = None
    gpus: int | None = None

    def options(self) -> dict[str, float]:
        """Return the keys of ``flwr run --federation-config``."""
        options: dict[str, float] = {
            "num-supernodes": self.clients,
            "client-resources-num-cpus": self.cpus_per_client,
            "client-resources-num-gpus": self.gpus_per_client,
        }
        if self.cpus is not None:
            options["init-args-num-cpus"] = self.cpus
        if self.gpus is not None:
            options["init-args-num-gpus"] = self.gpus
        return options


def simulate(
    config: RunConfig, federation: Federation, console: Console
) -> tuple[dict[str, Any], Path]:
    """Run one simulation on a SuperLink of its own.

    Returns
    -------
    tuple
        The run's summary, with the log's end under ``log`` when it did not complete, and
        its directory.

    Raises
    ------
    TrackerError
        The package of the tracker that is asked for is not installed.
    """
    require(config.tracker)
    path = run_path(config)
    config = replace(config, run_name=path.name)
    with tempfile.TemporaryDirectory(prefix="fsl-sage-") as name:
        directory = Path(name)
        app = write_app(directory)
        run_config = directory / "run-config.toml"
        values = config.to_run_config().items()
        run_config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values))
        with SuperLink(directory, app, federation.cpus_per_client) as superlink:
            run_id = superlink.run(app, run_config, federation.options())
            summary = follow(
                path, config.num_server_rounds, lambda: superlink.status(run_id), console
            )
        if not summary["completed"]:
            log = superlink.log.read_text(errors="replace")
            kept = path / "superlink.log"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(log)
            summary = {**summary, "log": str(kept)}
    return summary, path
