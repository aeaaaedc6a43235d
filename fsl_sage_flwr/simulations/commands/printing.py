"""Print the output of commands."""

from rich.console import Console

from ..terminal import Terminal


def wide(console: Console) -> Console:
    """Return a console for a table; a pipe has no width limit, so no column is cut off."""
    return console if console.is_terminal else Terminal(width=200)


def say(console: Console, text: str, end: str = "\n") -> None:
    """Print text unchanged, without colours and without breaking lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, end=end)
