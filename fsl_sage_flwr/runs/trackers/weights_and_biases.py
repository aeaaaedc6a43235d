"""Log to Weights & Biases, as a run of the project ``fsl-sage``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from .tracker import TrackerError

PROJECT = "fsl-sage"


class WandbBackend:
    """Starts a run of Weights & Biases and logs to it.

    The usual environment variables work: ``WANDB_MODE``, ``WANDB_API_KEY``, ``WANDB_ENTITY``, …
    ``WANDB_PROJECT`` and ``WANDB_NAME`` override this package's project and run name.

    Parameters
    ----------
    directory : Path
        The run's directory; its name becomes the name of the run, and ``wandb/`` is created in it.
    config : Mapping
        The resolved run configuration.
    earlier : str
        Id of a run to continue; empty starts a new one.

    Raises
    ------
    TrackerError
        The run cannot start, for example without a login or because the server does not
        answer.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], earlier: str) -> None:
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", directory.name),
                config=dict(config),
                dir=str(directory),
                # It would record the command line, which has a token if Flower started the process.
                settings=wandb.Settings(x_disable_meta=True),
                id=earlier or None,
                resume="allow" if earlier else None,
            )
            # The x axis. A resumed run repeats rounds that W&B already has, and W&B drops rows of
            # existing steps.
            self._run.define_metric("round")
            self._run.define_metric("*", step_metric="round")
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise TrackerError(
                f"tracker = 'wandb' cannot start: {reason}; log in with wandb login, or set "
                "WANDB_MODE=offline"
            ) from error
        self.run = str(self._run.id)
        self._next_step = int(self._run.starting_step)

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Log the numbers of a round."""
        self._next_step = max(step, self._next_step) + 1
        self._run.log({**scalars, "round": step}, step=self._next_step - 1)

    def close(self, *, completed: bool) -> None:
        """Send remaining data, and mark the run as finished or failed."""
        self._run.finish(exit_code=0 if completed else 1)
        # After finish() wandb's service process still writes. Wait for it here, because a process
        # that reads the summary may end this process and the service with it.
        wandb.teardown()
