"""Print the output of commands, and write their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from click import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def consoles() -> tuple[Console, Console]:
    """Return the consoles for results and for errors."""
    from .terminal import Terminal

    return Terminal(), Terminal(stderr=True)


def wide(console: Console) -> Console:
    """Return a console for a table; a pipe has no width limit, so no column is cut off."""
    from .terminal import Terminal

    return console if console.is_terminal else Terminal(width=1000)


def say(console: Console, text: str, end: str = "\n") -> None:
    """Print text unchanged, without colours and without breaking lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, end=end)


def check_output(path: Path) -> None:
    """Refuse a file of ``--out`` without a directory, before the work for it begins.

    Raises
    ------
    UsageError
        The directory does not exist.
    """
    if not path.parent.is_dir():
        raise UsageError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}")


def refuse_output(path: Path, error: OSError) -> UsageError:
    """Return the error for a file of ``--out`` that cannot be written."""
    return UsageError(f"--out {str(path)!r} cannot be written: {error.strerror}")


def write(path: Path, content: bytes) -> None:
    """Write a file.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    check_output(path)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise refuse_output(path, error) from error
