"""From a tracker's name to a tracker."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .tracker import Backend, Tracker, TrackerError

TRACKERS = ("tensorboard", "wandb")


def require(name: str) -> None:
    """Look whether a tracker's package is installed, without loading it.

    Raises
    ------
    TrackerError
        It is not.
    """
    if name and find_spec(name) is None:
        raise TrackerError(
            f"tracker = {name!r}: {name} is not installed where the server runs; "
            f"pip install 'fsl-sage-flwr[{name}]'"
        )


def open_tracker(name: str, directory: Path, config: Mapping[str, Any]) -> Tracker:
    """Start a tracker of a run.

    Parameters
    ----------
    name : str
        One of ``TRACKERS``; empty: a tracker that does nothing.
    directory : Path
        The run's directory.
    config : Mapping
        The resolved run configuration.

    Raises
    ------
    TrackerError
        Its package is missing, or it cannot start.
    """
    require(name)
    if not name:
        return Tracker()
    try:
        return Tracker(name, _backend(name, directory, config))
    except ImportError as error:
        raise TrackerError(
            f"tracker = {name!r}: {name} is installed but cannot be loaded ({error}); "
            f"pip install --upgrade 'fsl-sage-flwr[{name}]'"
        ) from error


def _backend(name: str, directory: Path, config: Mapping[str, Any]) -> Backend:
    # Here and not above: neither package need be there, and each takes seconds to load.
    if name == "tensorboard":
        from .tensorboard import TensorBoardBackend

        return TensorBoardBackend(directory)
    from .weights_and_biases import WandbBackend

    return WandbBackend(directory, config)
