"""One simulation, from settings to a finished run directory."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from ..app.claim import Claim, claim_for_command
from ..app.config import RunConfig
from ..app.results import RunDirectory
from ..app.trackers import require
from .app_directory import write_app
from .progress import Rows, follow
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
    cpus, gpus : int or None
        What Ray may use in all; None is everything there is.
    visible_gpus : str or None
        Which GPUs these are, as in ``CUDA_VISIBLE_DEVICES``; None is every one.
    """

    clients: int = 4
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0
    cpus: int | None = None
    gpus: int | None = None
    visible_gpus: str | None = None

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
    config: RunConfig,
    federation: Federation,
    each_round: Callable[[Rows], None] = lambda rows: None,
    stop: Event | None = None,
) -> tuple[dict[str, Any], Path]:
    """Run one simulation on a SuperLink of its own.

    Parameters
    ----------
    config, federation : RunConfig, Federation
        What to train, and where.
    each_round : callable, optional
        Called after every round with the rows of the history so far.
    stop : Event, optional
        Set from another thread: end everything and raise ``KeyboardInterrupt``.

    Returns
    -------
    tuple
        The run's summary, with the log's end under ``log`` when it did not complete, and
        its directory.

    Raises
    ------
    ConfigError
        The directory holds a completed run, or another run is at work in it.
    FlowerError
        Flower did not start, or refused the run.
    TrackerError
        The package of the tracker that is asked for is not installed.
    """
    require(config.tracker)
    with claim_for_command(config) as claim:
        config = replace(config, run_name=claim.path.name)
        return _simulate(config, federation, claim, each_round, stop), claim.path


def _simulate(
    config: RunConfig,
    federation: Federation,
    claim: Claim,
    each_round: Callable[[Rows], None],
    stop: Event | None,
) -> dict[str, Any]:
    path = claim.path
    run = RunDirectory(path)
    run.begin_simulation(federation.options(), resumed=bool(config.resume))
    with tempfile.TemporaryDirectory(prefix="fsl-sage-") as name, run.reporting_failure():
        directory = Path(name)
        app = write_app(directory)
        run_config = directory / "run-config.toml"
        values = config.to_run_config().items()
        run_config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values))
        with SuperLink(
            directory,
            app,
            federation.cpus_per_client,
            federation.visible_gpus,
            claim.environment,
        ) as superlink:
            run_id = superlink.run(app, run_config, federation.options())
            summary = follow(path, lambda: superlink.status(run_id), each_round, stop)
        if not summary["completed"]:
            run.write_summary(summary)
            kept = path / "superlink.log"
            kept.write_text(superlink.log.read_text(errors="replace"))
            summary = {**summary, "log": str(kept)}
    return summary
