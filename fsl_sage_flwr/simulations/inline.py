"""Run a simulation in this process, without a SuperLink and without Ray."""

import _thread
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from ..app.config import RunConfig
from ..inline import run_inline
from ..runs.log_lines import without_console
from .federation import Federation
from .progress import Watcher, follow

ENDED = "finished: the ServerApp ended before it wrote a summary"


def run_in_this_process(
    config: RunConfig,
    federation: Federation,
    path: Path,
    environment: Mapping[str, str],
    watcher: Watcher,
) -> dict[str, Any]:
    """Run the package's two apps in the calling thread; return the run's summary.

    A second thread shows the progress from the run's files, so that a breakpoint in the task has
    the calling thread for itself. The lines of Flower's log go to ``run.log`` alone.

    Parameters
    ----------
    config : RunConfig
        The run.
    federation : Federation
        Its clients, and the CPU threads of each.
    path : Path
        The run's directory.
    environment : Mapping
        Environment variables during the run.
    watcher : Watcher
        Receives the run's progress.

    Raises
    ------
    KeyboardInterrupt
        The run was interrupted, or the standard output is closed.
    """
    ended = Event()

    def show() -> dict[str, Any]:
        try:
            return follow(
                path,
                lambda: ENDED if ended.is_set() else "running",  # however long a round takes
                watcher,
                is_alive=lambda: not ended.is_set(),
            )
        except BaseException:  # such as a closed standard output
            if not ended.is_set():
                _thread.interrupt_main()
            raise

    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(show)
        try:
            with _environment(environment), without_console():
                train(config, federation)
        except KeyboardInterrupt:
            ended.set()
            shown.result()  # raises what ended the display
            raise
        except Exception:
            # The boundary of the ServerApp's process, which is this one: its summary tells of any
            # error of the model, the data or Flower. An error before the summary is raised.
            ended.set()
            if ENDED in shown.result()["status"]:
                raise
        finally:
            ended.set()
        return shown.result()


def train(config: RunConfig, federation: Federation) -> None:
    """Run the package's two apps; an exception of the ServerApp is in the run's log and summary."""
    # Imported here because both apps set up Flower's log.
    from ..client_app import app as client_app
    from ..server_app import app as server_app

    values = config.to_run_config()
    threads = federation.cpus_per_client
    run_inline(server_app, client_app, federation.clients, values, threads=threads)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
