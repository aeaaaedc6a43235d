"""Run an ``fsl-sage`` command from its words."""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from ..analysis.load_results import ResultsError
from ..app.config import ConfigError
from ..atomic_files import DiskError
from ..command_line import OUTPUT_CLOSED, parser, standard_output
from ..data import DatasetError
from ..language import LanguageModelError
from ..registries import ExtensionError, announce
from ..runs.trackers import TrackerError
from ..splitting import SplitError
from .commands import command_named
from .commands.printing import say
from .superlink import FlowerError
from .terminal import OutputClosedError, Terminal

# Commands that start processes.
STARTING = ("run", "sweep")
# Sent by a user, a closed terminal and a scheduler; each ends the command and all processes that it
# started.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words and run the command; return its exit status."""
    with standard_output():
        return run_command(parser().parse_args(arguments))


def run_command(options: argparse.Namespace) -> int:
    """Run a parsed command; return its exit status.

    0 is success; 1: the run failed, or data or results cannot be read, written or drawn; 2: the
    command line is wrong; 130: interrupted; 141: the output was closed.
    """
    _end_on_signals()
    errors = Terminal(stderr=True)
    problem: Exception
    try:
        announce(options.imports)
        return command_named(options.command)(options, Terminal(), errors)
    except (ConfigError, ExtensionError, SplitError, TrackerError) as error:
        status, problem = 2, error
    except (FlowerError, DatasetError, DiskError, LanguageModelError, ResultsError) as error:
        status, problem = 1, error
    except OutputClosedError as error:
        if options.command in STARTING:
            say(errors, f"fsl-sage: {error}; all processes that it started have been ended")
        return OUTPUT_CLOSED
    except KeyboardInterrupt:
        with suppress(OSError, OutputClosedError):  # the terminal may be closed
            errors.print("fsl-sage: interrupted; all processes that it started have been ended")
        return 130
    errors.print(f"fsl-sage: {problem}", markup=False, highlight=False, soft_wrap=True)
    return status


def _end_on_signals() -> None:
    for number in ENDING_SIGNALS:
        # nohup ignores a signal from the start; keep ignoring it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A closed terminal sends SIGHUP twice, from the kernel and from the shell. The second must not
    # interrupt the ending of the processes.
    for each in ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
