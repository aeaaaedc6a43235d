"""Run many simulations, several at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any, Protocol

from ...app.config import ConfigError
from ...runs.trackers import TrackerError
from ..federation import Federation
from ..preflight import check_run
from ..progress import Rows, Watcher
from ..run import simulate
from ..superlink import FlowerError
from .combinations import Combination


@dataclass(frozen=True)
class Outcome:
    """Result of a run of a sweep.

    Attributes
    ----------
    combination : Combination
        The run's configuration and label.
    path : Path or None
        The run's directory; None if the simulation raised an error.
    summary : dict
        The run's summary: ``completed``, and the reason in ``status`` if it is False.
    """

    combination: Combination
    path: Path | None
    summary: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the run failed to complete."""
        return not self.summary["completed"]


class SweepWatcher(Protocol):
    """Shows the progress of a sweep; called by several threads."""

    def started(self, combination: Combination) -> None:
        """Show the start of a run."""

    def round_done(self, combination: Combination, rows: Rows) -> None:
        """Show the end of a round."""

    def ended(self, outcome: Outcome) -> None:
        """Show the end of a run."""


class _OfOneRun(Watcher):
    """Passes the rounds of one run to a sweep's watcher."""

    def __init__(self, combination: Combination, watcher: SweepWatcher) -> None:
        self._combination, self._watcher = combination, watcher

    def resumed(self, rows: Rows) -> None:
        """Pass the rounds before a resumed checkpoint."""
        self._watcher.round_done(self._combination, rows)

    def __call__(self, rows: Rows) -> None:
        """Pass a round."""
        self._watcher.round_done(self._combination, rows)


def sweep(
    combinations: Sequence[Combination],
    shares: Sequence[Federation],
    watcher: SweepWatcher,
    federation_of: Callable[[Combination, Federation], Federation] = lambda _, share: share,
) -> list[Outcome]:
    """Run all combinations, as many at a time as there are shares of the machine.

    A failed run does not stop the others.

    Parameters
    ----------
    combinations : sequence of Combination
        Runs of the sweep.
    shares : sequence of Federation
        Shares of the machine, one per concurrent run.
    watcher : SweepWatcher
        Shows the progress.
    federation_of : callable, optional
        Returns the federation of a run from the combination and its share.

    Returns
    -------
    list of Outcome
        In the order of the combinations.

    Raises
    ------
    KeyboardInterrupt
        The sweep was interrupted; all runs have been ended.
    """
    stop = Event()
    free = SimpleQueue[Federation]()
    for share in shares:
        free.put(share)

    def run_one(combination: Combination) -> Outcome:
        if stop.is_set():
            raise KeyboardInterrupt
        share = free.get()
        watcher.started(combination)
        try:
            federation = federation_of(combination, share)
            outcome = Outcome(combination, *_simulate(combination, federation, watcher, stop))
        finally:
            free.put(share)
        watcher.ended(outcome)
        return outcome

    with ThreadPoolExecutor(len(shares)) as pool:
        runs = list[Future[Outcome]]()
        try:
            for combination in combinations:
                runs.append(pool.submit(run_one, combination))
            _wait(runs)
            return [run.result() for run in runs]
        finally:  # after an interrupt, or an error in a thread, no run may continue
            stop.set()
            for run in runs:
                run.cancel()


def _wait(runs: Sequence[Future[Outcome]]) -> None:
    """Wait until all runs have ended or one has raised.

    Waits one second at a time: a signal that arrives as Python starts to wait for a lock is handled
    only after it has the lock.
    """
    while True:
        done, others = wait(runs, timeout=1, return_when=FIRST_EXCEPTION)
        if not others or any(run.exception() for run in done):
            return


def _simulate(
    combination: Combination, federation: Federation, watcher: SweepWatcher, stop: Event
) -> tuple[Path | None, dict[str, Any]]:
    try:
        check_run(combination.config, federation)
        summary, path = simulate(
            combination.config,
            federation,
            _OfOneRun(combination, watcher),
            stop,
        )
    except (FlowerError, ConfigError, TrackerError, OSError) as error:
        return None, {"completed": False, "status": str(error)}
    return path, summary
