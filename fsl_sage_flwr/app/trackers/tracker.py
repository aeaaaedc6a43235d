"""A tracker of a run, which may fail without taking the run down."""

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

log = logging.getLogger("flwr.fsl_sage")


class TrackerError(ValueError):
    """The tracker that was asked for cannot be used; one line says why and the fix."""


class Backend(Protocol):
    """What a tracker is made of: it may raise whatever it likes."""

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Show a round's numbers at their place on the x axis."""

    def close(self, *, completed: bool) -> None:
        """Write out what is left, and say whether the run reached its end."""


class Tracker:
    """Hand each round's row to a backend, and switch it off when it fails.

    Parameters
    ----------
    name : str
        For the log.
    backend : Backend, optional
        None: there is nothing to do.
    """

    def __init__(self, name: str = "", backend: Backend | None = None) -> None:
        self._name, self._backend = name, backend

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
        """Show a row of ``history.csv`` under its columns' names, the round as x axis."""
        backend = self._backend
        if backend is not None:
            self._attempt(lambda: backend.log(scalars_of(row), int(row["round"])))

    def close(self, *, completed: bool) -> None:
        """End the tracker; a second time does nothing."""
        backend = self._backend
        if backend is not None:
            self._attempt(lambda: backend.close(completed=completed))
        self._backend = None

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        # A tracker is other people's code, with disks and servers behind it: whatever it
        # raises, days of training must not end for a picture of them.
        except Exception as error:  # noqa: BLE001
            self._backend = None
            log.warning(
                "tracker %s failed and is switched off, the run goes on: %s: %s",
                self._name, type(error).__name__, error,
            )  # fmt: skip


def scalars_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return a row's numbers by column; what the round has no value for is left out."""
    return {key: float(v) for key, v in row.items() if key != "round" and v is not None}
