"""Open a tracker by name."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .tracker import Backend, Tracker, TrackerError

log = logging.getLogger("flwr.fsl_sage")

TRACKERS = ("tensorboard", "wandb", "mlflow", "aim")


def require(name: str) -> None:
    """Check that a tracker's package is installed, without importing it.

    Raises
    ------
    TrackerError
        The package is not installed.
    """
    if name and name not in TRACKERS:
        raise TrackerError(f"tracker = {name!r}: valid are {', '.join(TRACKERS)}")
    if name and find_spec(name) is None:
        raise TrackerError(
            f"tracker = {name!r}: {name} is not installed where the server runs; "
            f"pip install 'fsl-sage-flwr[{name}]'"
        )


def open_tracker(
    name: str, directory: Path, config: Mapping[str, Any], earlier: str = ""
) -> Tracker:
    """Start the tracker of a run, or continue an earlier run in it.

    Parameters
    ----------
    name : str
        One of ``TRACKERS``; empty for no tracker.
    directory : Path
        The run's directory.
    config : Mapping
        The resolved run configuration.
    earlier : str
        ``Tracker.run`` of an earlier part of the run, to be continued; if the tracker does not know
        it, a new run starts, with a log line. Empty starts a new one.

    Raises
    ------
    TrackerError
        The tracker's package is missing, or the tracker cannot start.
    """
    require(name)
    if not name:
        return Tracker()
    try:
        if earlier:
            try:
                backend = _backend(name, directory, config, earlier)
                return Tracker(name, backend, has_earlier_rows=True)
            except TrackerError as error:
                log.warning("the tracker's run %s is not continued, a new one begins: %s",
                            earlier, error)  # fmt: skip
        return Tracker(name, _backend(name, directory, config, ""))
    except ImportError as error:
        raise TrackerError(
            f"tracker = {name!r}: {name} is installed but cannot be loaded ({error}); "
            f"pip install --upgrade 'fsl-sage-flwr[{name}]'"
        ) from error


def _backend(name: str, directory: Path, config: Mapping[str, Any], earlier: str) -> Backend:
    # Imported here because all packages are optional and each takes seconds to import.
    if name == "tensorboard":
        from .tensorboard import TensorBoardBackend

        return TensorBoardBackend(directory)
    if name == "wandb":
        from .weights_and_biases import WandbBackend

        return WandbBackend(directory, config, earlier)
    if name == "mlflow":
        from .mlflow import MlflowBackend

        return MlflowBackend(directory, config, earlier)
    from .aim import AimBackend

    return AimBackend(directory, config, earlier)
