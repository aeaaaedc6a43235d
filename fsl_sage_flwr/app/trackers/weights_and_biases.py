"""Weights & Biases: a run of the project ``fsl-sage``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from .tracker import TrackerError

PROJECT = "fsl-sage"


class WandbBackend:
    """Start a run of Weights & Biases, and log to it.

    Its own environment variables mean what they always do: ``WANDB_MODE``,
    ``WANDB_API_KEY``, ``WANDB_ENTITY``, ``WANDB_PROJECT`` and ``WANDB_NAME`` (which win over
    ours), …

    Parameters
    ----------
    directory : Path
        The run's; its name is the run's name, and ``wandb/`` is made in it.
    config : Mapping
        The resolved run configuration.

    Raises
    ------
    TrackerError
        The run cannot be started: nobody has logged in, or its server does not answer.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", directory.name),
                config=dict(config),
                dir=str(directory),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise TrackerError(
                f"tracker = 'wandb' cannot start: {reason}; log in with wandb login, or set "
                "WANDB_MODE=offline"
            ) from error

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Log a round."""
        self._run.log(scalars, step=step)

    def close(self, *, completed: bool) -> None:
        """Send what is left, and mark the run as finished or failed."""
        self._run.finish(exit_code=0 if completed else 1)
        # Its service still writes when the run says that it is over; who reads the summary may
        # end this process, and the service with it.
        wandb.teardown()
