"""Log to MLflow, as a run of the experiment ``fsl-sage``."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy import URL, make_url

from .tracker import EXPERIMENT, TrackerError

DATABASE = "mlflow.db"


class MlflowBackend:
    """Starts a run of MLflow and logs to it.

    The usual environment variables work: ``MLFLOW_TRACKING_URI``, ``MLFLOW_TRACKING_TOKEN``, …
    ``MLFLOW_EXPERIMENT_NAME`` overrides the experiment's name. Without a tracking URI the run is in
    ``<run directory>/mlflow.db``, without a server.

    Parameters
    ----------
    directory : Path
        The run's directory; its name becomes the name of the run.
    config : Mapping
        The resolved run configuration: the run's parameters.
    earlier : str
        Id of a run to continue; empty starts a new one. MLflow keeps the parameters of a continued
        run unchanged.

    Raises
    ------
    TrackerError
        The run cannot start, for example because the server does not answer.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], earlier: str) -> None:
        # Not a directory of files, which MLflow supports for old runs only, with a warning.
        own = _uri_of(directory.absolute() / DATABASE)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        try:
            self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", own))
            if earlier:
                self._client.update_run(earlier, status="RUNNING")
                self.run = earlier
                return
            run = self._client.create_run(self._experiment(name), run_name=directory.name)
            self.run = str(run.info.run_id)
            params = [Param(key, str(value)) for key, value in config.items()]
            self._client.log_batch(self.run, params=params)
        except (MlflowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise TrackerError(
                f"tracker = 'mlflow' cannot start: {reason}; check MLFLOW_TRACKING_URI, or unset "
                f"it to write {DATABASE} in the run's directory"
            ) from error

    def _experiment(self, name: str) -> str:
        # Create first: between a look-up and a creation another run might create it.
        try:
            return self._client.create_experiment(name)
        except MlflowException:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Log the numbers of a round."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in scalars.items()]
        self._client.log_batch(self.run, metrics=metrics)

    def close(self, *, completed: bool) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self.run, "FINISHED" if completed else "FAILED")


def _uri_of(database: Path) -> str:
    """Return the address of a database file, whatever characters its path contains."""
    plain = f"sqlite:///{database}"
    # MLflow also creates the directory named in the unparsed address: quote it only if necessary.
    if make_url(plain) == URL.create("sqlite", database=str(database)):
        return plain
    return URL.create("sqlite", database=str(database)).render_as_string(hide_password=False)
