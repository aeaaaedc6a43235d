"""Do what the words of an ``fsl-sage`` command say."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from rich.console import Console

from ..app.config import ConfigError
from ..app.trackers import TrackerError
from ..command_line import parser
from ..data import DatasetError
from ..extensions import ExtensionError, announce, load_extensions
from ..language import LanguageModelError
from ..splitting import SplitError
from ..whole_files import DiskError
from .commands import command_named
from .load_results import ResultsError
from .superlink import FlowerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the words and run the command; return its exit status."""
    return run_command(parser().parse_args(arguments))


def run_command(options: argparse.Namespace) -> int:
    """Run the command that was read; return its exit status.

    0: success. 1: the run failed, or data or results cannot be read, written or drawn.
    2: the command line is wrong. 130: interrupted.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    errors = Console(stderr=True)
    problem: Exception
    try:
        announce(options.imports)
        load_extensions()
        return command_named(options.command)(options, Console(), errors)
    except (ConfigError, ExtensionError, SplitError, TrackerError) as error:
        status, problem = 2, error
    except (FlowerError, DatasetError, DiskError, LanguageModelError, ResultsError) as error:
        status, problem = 1, error
    except KeyboardInterrupt:
        errors.print("fsl-sage: interrupted; all processes that it started have been ended")
        return 130
    errors.print(f"fsl-sage: {problem}", markup=False, highlight=False, soft_wrap=True)
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
