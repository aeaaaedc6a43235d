"""A console that notices when its output is closed."""

from rich.console import Console

from .standard_output import OutputClosedError, forget_output


class Terminal(Console):
    """The console of a command; a closed pipe ends the command."""

    def on_broken_pipe(self) -> None:
        """Raise :class:`OutputClosedError`, after which nothing more is printed."""
        self.quiet = True
        if not self.stderr:
            forget_output()
        raise OutputClosedError("the program that read the output has closed it")
