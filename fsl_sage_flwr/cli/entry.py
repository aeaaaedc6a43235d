"""Entry point of ``fsl-sage``: parse the words, run the command, explain errors in one line."""

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from types import FrameType
from typing import Annotated, cast, get_type_hints

import click
import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.main import get_command

from ..user_error import UserError
from .compare import compare_command
from .cuts import cuts_command
from .data import data_command
from .generate import generate_command
from .keys import keys_command
from .leakage import leakage_command
from .list import list_command
from .mistakes import explained, unknown_command
from .plot import plot_command
from .report import report_command
from .results import results_command
from .run import run_command
from .runs import runs_command
from .standard_output import OUTPUT_CLOSED, OutputClosedError, standard_output
from .sweep import sweep_command
from .time import time_command
from .watch import watch_command

NAME = "fsl-sage"
# Collections of young objects, about 7,000 new objects each, per collection of all; Python's own
# number is 10.
FULL_COLLECTION_EVERY = 1000
# The extra `command` in pyproject.toml.
NEEDED = (
    "jinja2",
    "matplotlib",
    "pandas",
    "plotext",
    "plotly",
    "psutil",
    "rich",
    "scipy",
    "tabulate",
    "typer",
)
# In the order of the help text.
COMMANDS: tuple[Callable[..., int], ...] = (
    run_command,
    sweep_command,
    runs_command,
    watch_command,
    compare_command,
    results_command,
    plot_command,
    time_command,
    report_command,
    list_command,
    keys_command,
    cuts_command,
    data_command,
    leakage_command,
    generate_command,
)
# Commands that start processes.
STARTING = ("run", "sweep")
# Sent by a user, a closed terminal and a scheduler; each ends the command and all processes that it
# started.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Parsed:
    """A command with its arguments, ready to run."""

    name: str
    run: Callable[[], int]


class _Command(TyperCommand):
    """Parses a command; :func:`run` runs it, because click handles Ctrl-C and closed pipes too."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, with that of the arguments, which typer loses with click 8.5."""
        hints = get_type_hints(self.callback, include_extras=True)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument) and parameter.help is None:
                (declared,) = hints[str(parameter.name)].__metadata__
                parameter.help = declared.help
        super().format_help(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Parsed:
        """Return the command with its arguments."""
        function = cast(Callable[..., int], self.callback)
        return Parsed(str(ctx.info_name), partial(function, **ctx.params))


class _Commands(TyperGroup):
    """Explains an unknown command by a similar one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the first word, and the other words."""
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            raise click.UsageError(unknown_command(args[0], names))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Federated split learning.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in COMMANDS:
    app.command(function.__name__.removesuffix("_command"), cls=_Command)(function)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fsl-sage-flwr {metadata.version('fsl-sage-flwr')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _no_command(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words and run the command; return its exit status.

    0 is success; 1: the run failed, or data or results cannot be read, written or drawn; 2: the
    command line is wrong, or a package is not installed; 130: interrupted; 141: the output was
    closed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with standard_output():
        try:
            parsed = parse(words)
        except click.UsageError as error:
            _complain(explained(error, words))
            return 2
        except click.Abort:  # click's name for Ctrl-C
            _complain("interrupted; nothing was started")
            return 130
        except SystemExit as ended:
            if ended.code == 1:  # rich's and click's status for a closed pipe
                return OUTPUT_CLOSED
            raise
        return parsed if isinstance(parsed, int) else run(parsed)


def parse(words: list[str]) -> Parsed | int:
    """Return the command that the words name, or the exit status of ``--help`` and ``--version``.

    Raises
    ------
    click.UsageError
        The words are wrong.
    """
    parsed: Parsed | int = get_command(app).main(words, prog_name=NAME, standalone_mode=False)
    return parsed


def run(parsed: Parsed) -> int:
    """Run a parsed command; return its exit status, as :func:`main`."""
    _end_on_signals()
    try:
        with _few_full_collections():
            return parsed.run()
    except UserError as error:
        _complain(str(error))
        return error.exit_status
    except click.UsageError as error:
        _complain(error.format_message())
        return 2
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in NEEDED:
            raise
        missing = ", ".join(name for name in NEEDED if not _is_installed(name))
        _complain(
            f"the command needs {missing}, not installed here; pip install 'fsl-sage-flwr[command]'"
        )
        return 2
    except OutputClosedError as error:
        if parsed.name in STARTING:
            _complain(f"{error}; all processes that it started have been ended")
        return OUTPUT_CLOSED
    except KeyboardInterrupt:
        _complain("interrupted; all processes that it started have been ended")
        return 130


@contextmanager
def _few_full_collections() -> Iterator[None]:
    """Let the garbage collector visit old objects rarely.

    PyTorch's modules are a million objects that stay; while they are imported, the collector would
    visit those before again and again.
    """
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], FULL_COLLECTION_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # in sys.modules without a specification
        return False


def _complain(text: str) -> None:
    with suppress(OSError):  # the terminal may be closed
        print(f"{NAME}: {text}", file=sys.stderr, flush=True)


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
