"""Pass a run's rounds to a tracker; if it fails, the run continues without it."""

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from ...user_error import UserError

log = logging.getLogger("flwr.fsl_sage")

# Default group of runs, in trackers with experiments or projects.
EXPERIMENT = "fsl-sage"


class TrackerError(ValueError, UserError):
    """The tracker cannot be used; one line gives the reason and a fix."""

    exit_status = 2


class Backend(Protocol):
    """The part of a tracker that talks to a service; it may raise any exception.

    Attributes
    ----------
    run : str
        Id of the run in the tracker, for a resumed run; empty if the run's directory identifies
        it.
    """

    run: str

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Show a round's numbers; ``step`` is their position on the x axis."""

    def close(self, *, completed: bool) -> None:
        """Write remaining data, and record whether the run reached its end."""


class Tracker:
    """Passes each round's row to a backend, and disables a failing backend.

    Parameters
    ----------
    name : str
        Name of the tracker in log messages.
    backend : Backend, optional
        None for no tracker.
    has_earlier_rows : bool
        Whether the tracker already shows the earlier rounds of a continued run.
    """

    def __init__(
        self, name: str = "", backend: Backend | None = None, *, has_earlier_rows: bool = False
    ) -> None:
        self._name, self._backend = name, backend
        self.has_earlier_rows = has_earlier_rows

    @property
    def run(self) -> str:
        """Id of the run in the tracker; may be empty."""
        return "" if self._backend is None else self._backend.run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(completed=error is None)

    def log(self, row: Mapping[str, Any]) -> None:
        """Show a row of ``history.csv`` under its column names, with the round as x axis."""
        backend = self._backend
        if backend is not None:
            self._attempt(lambda: backend.log(scalars_of(row), int(row["round"])))

    def close(self, *, completed: bool) -> None:
        """End the tracker; a second call does nothing."""
        backend = self._backend
        if backend is not None:
            self._attempt(lambda: backend.close(completed=completed))
        self._backend = None

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        # Trackers run third-party code and depend on disks and servers. Their errors must not end
        # a training that may have taken days.
        except Exception as error:  # noqa: BLE001
            self._backend = None
            log.warning(
                "tracker %s failed and is disabled, the run continues without it: %s: %s",
                self._name, type(error).__name__, error,
            )  # fmt: skip


def scalars_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return a row's numbers by column, without missing values."""
    return {key: float(v) for key, v in row.items() if key != "round" and v is not None}
