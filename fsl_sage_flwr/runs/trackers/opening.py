"""The registry of trackers, and a run's tracker by its name."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...registries import Registry
from .tracker import Backend, Tracker, TrackerError

log = logging.getLogger("flwr.fsl_sage")


@dataclass(frozen=True)
class TrackerEntry:
    """A tracker that a run can name.

    Attributes
    ----------
    begin : callable
        Starts a run of the tracker: from the run's directory, the resolved run configuration and
        the id of an earlier run to continue (empty for a new one) to a
        :class:`~fsl_sage_flwr.runs.trackers.tracker.Backend`. It imports the tracker's package, and
        raises :class:`~fsl_sage_flwr.runs.trackers.tracker.TrackerError` for a run that it cannot
        start.
    package : str
        Package that the tracker needs, and extra of this package that installs it; empty for
        none.
    """

    begin: Callable[[Path, Mapping[str, Any], str], Backend]
    package: str = ""


# The packages are optional and each takes seconds to import.
def _tensorboard(directory: Path, config: Mapping[str, Any], earlier: str) -> Backend:
    from .tensorboard import TensorBoardBackend

    return TensorBoardBackend(directory)


def _wandb(directory: Path, config: Mapping[str, Any], earlier: str) -> Backend:
    from .weights_and_biases import WandbBackend

    return WandbBackend(directory, config, earlier)


def _mlflow(directory: Path, config: Mapping[str, Any], earlier: str) -> Backend:
    from .mlflow import MlflowBackend

    return MlflowBackend(directory, config, earlier)


def _aim(directory: Path, config: Mapping[str, Any], earlier: str) -> Backend:
    from .aim import AimBackend

    return AimBackend(directory, config, earlier)


TRACKERS = Registry[TrackerEntry]("tracker", TrackerEntry)
"""Trackers by name: valid for ``tracker``."""

TRACKERS.register("tensorboard", TrackerEntry(_tensorboard, "tensorboard"))
TRACKERS.register("wandb", TrackerEntry(_wandb, "wandb"))
TRACKERS.register("mlflow", TrackerEntry(_mlflow, "mlflow"))
TRACKERS.register("aim", TrackerEntry(_aim, "aim"))


def require(name: str) -> None:
    """Check that a tracker's package is installed, without importing it.

    Raises
    ------
    TrackerError
        The package is not installed.
    """
    if not name:
        return
    if name not in TRACKERS:
        raise TrackerError(f"tracker = {name!r}: {TRACKERS.problem(name)}")
    package = TRACKERS[name].package
    if package and find_spec(package) is None:
        raise TrackerError(
            f"tracker = {name!r}: {package} is not installed where the server runs; "
            f"pip install 'fsl-sage-flwr[{package}]'"
        )


def open_tracker(
    name: str, directory: Path, config: Mapping[str, Any], earlier: str = ""
) -> Tracker:
    """Start the tracker of a run, or continue an earlier run in it.

    Parameters
    ----------
    name : str
        A name in :data:`TRACKERS`; empty for a tracker that does nothing.
    directory : Path
        The run's directory.
    config : Mapping
        The resolved run configuration.
    earlier : str
        ``Tracker.run`` of the earlier part of a resumed run, which is continued; if the tracker
        lacks it, a new run begins, with a warning. Empty begins a new one.

    Raises
    ------
    TrackerError
        The tracker's package is missing, or the tracker cannot start.
    """
    require(name)
    if not name:
        return Tracker()
    entry = TRACKERS[name]
    try:
        if earlier:
            try:
                backend = entry.begin(directory, config, earlier)
                return Tracker(name, backend, has_earlier_rows=True)
            except TrackerError as error:
                log.warning("the tracker's run %s is not continued, a new one begins: %s",
                            earlier, error)  # fmt: skip
        return Tracker(name, entry.begin(directory, config, ""))
    except ImportError as error:
        fix = (
            f"pip install --upgrade 'fsl-sage-flwr[{entry.package}]'"
            if entry.package
            else ("upgrade the package that registers it")
        )
        raise TrackerError(
            f"tracker = {name!r}: {name} is installed but cannot be loaded ({error}); {fix}"
        ) from error
