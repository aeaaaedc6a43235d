"""Log to Aim, as a run of the experiment ``fsl-sage``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aim.sdk.run import Run

from .tracker import EXPERIMENT, TrackerError


class AimBackend:
    """Starts a run of Aim and logs to it.

    ``AIM_REPO`` names the repository, a directory or ``aim://HOST:PORT``. Without it the
    repository is in the run's directory.

    Parameters
    ----------
    directory : Path
        The run's directory; its name becomes the name of the run.
    config : Mapping
        The resolved run configuration: the run's parameters.
    earlier : str
        Hash of a run to continue; empty starts a new one.

    Raises
    ------
    TrackerError
        The run cannot start, for example because the server does not answer.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], earlier: str) -> None:
        repository = os.environ.get("AIM_REPO", str(directory))
        try:
            self._run = Run(
                earlier or None,
                repo=repository,
                # A killed process leaves Aim's lock; the run directory's lock proves its end.
                force_resume=bool(earlier),
                experiment=EXPERIMENT,
                # Otherwise Aim records the machine, the command line and the terminal output.
                system_tracking_interval=None,
                log_system_params=False,
                capture_terminal_logs=False,
            )
            self._run.name = directory.name
            self._run["config"] = dict(config)
            self.run = str(self._run.hash)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise TrackerError(
                f"tracker = 'aim' cannot start: {reason}; check AIM_REPO, or unset it to write "
                "in the run's directory"
            ) from error

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Log the numbers of a round."""
        for name, value in scalars.items():
            self._run.track(value, name=name, step=step)

    def close(self, *, completed: bool) -> None:
        """Write remaining data, and record whether the run reached its end."""
        self._run["completed"] = completed
        self._run.close()
