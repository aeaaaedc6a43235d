"""Run many simulations, several at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any, Protocol

from ...app.config import ConfigError
from ...app.trackers import TrackerError
from ..progress import Rows
from ..run import Federation, simulate
from ..superlink import FlowerError
from .combinations import Combination


@dataclass(frozen=True)
class Outcome:
    """How a run of a sweep ended.

    Attributes
    ----------
    combination : Combination
        What was run.
    path : Path or None
        Its directory.
    summary : dict
        Its summary; ``completed`` says whether it did, ``status`` why not.
    """

    combination: Combination
    path: Path | None
    summary: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the run did not complete."""
        return not self.summary["completed"]


class Watcher(Protocol):
    """Is told what happens, from several threads."""

    def started(self, combination: Combination) -> None:
        """Take notice that a run begins."""

    def round_done(self, combination: Combination, rows: Rows) -> None:
        """Take notice of a round's end."""

    def ended(self, outcome: Outcome) -> None:
        """Take notice that a run has ended."""


def sweep(
    combinations: Sequence[Combination],
    shares: Sequence[Federation],
    watcher: Watcher,
    federation_of: Callable[[Combination, Federation], Federation] = lambda _, share: share,
) -> list[Outcome]:
    """Run all combinations, as many at a time as there are shares of the machine.

    A run that fails does not stop the others.

    Parameters
    ----------
    combinations : sequence of Combination
        What to run.
    shares : sequence of Federation
        Of the machine, one for each run at a time.
    watcher : Watcher
        Is told how it goes.
    federation_of : callable, optional
        What a run makes of its share.

    Returns
    -------
    list of Outcome
        In the order of the combinations.

    Raises
    ------
    KeyboardInterrupt
        After every run has been ended.
    """
    stop = Event()
    free = SimpleQueue[Federation]()
    for share in shares:
        free.put(share)

    def one(combination: Combination) -> Outcome:
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
                runs.append(pool.submit(one, combination))
            _wait(runs)
            return [run.result() for run in runs]
        finally:  # an interrupt, or a mistake of ours in a thread: nothing may go on behind it
            stop.set()
            for run in runs:
                run.cancel()


def _wait(runs: Sequence[Future[Outcome]]) -> None:
    """Wait until all have ended or one has raised.

    A second at a time: Python notices a signal that comes as it begins to wait for a lock
    only when it has the lock.
    """
    while True:
        done, others = wait(runs, timeout=1, return_when=FIRST_EXCEPTION)
        if not others or any(run.exception() for run in done):
            return


def _simulate(
    combination: Combination, federation: Federation, watcher: Watcher, stop: Event
) -> tuple[Path | None, dict[str, Any]]:
    try:
        summary, path = simulate(
            combination.config,
            federation,
            lambda rows: watcher.round_done(combination, rows),
            stop,
        )
    except (FlowerError, ConfigError, TrackerError, OSError) as error:
        return None, {"completed": False, "status": str(error)}
    return path, summary
