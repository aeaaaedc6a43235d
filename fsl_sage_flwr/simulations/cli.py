"""The ``fsl-sage`` command."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from rich.console import Console

from ..app.config import ConfigError
from ..app.trackers import TrackerError
from ..data import DatasetError
from ..language import LanguageModelError
from .commands import COMMANDS
from .load_results import ResultsError
from .superlink import FlowerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: success. 1: the run failed, or the data or the results cannot be read or drawn.
    2: the command line is wrong. 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    errors = Console(stderr=True)
    problem: Exception
    try:
        return int(options.command(options, Console(), errors))
    except (ConfigError, TrackerError) as error:
        status, problem = 2, error
    except (FlowerError, DatasetError, LanguageModelError, ResultsError) as error:
        status, problem = 1, error
    except KeyboardInterrupt:
        errors.print("fsl-sage: interrupted; all processes that it started have been ended")
        return 130
    errors.print(f"fsl-sage: {problem}", markup=False, highlight=False, soft_wrap=True)
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fsl-sage", description="Federated split learning.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_command in COMMANDS:
        add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
