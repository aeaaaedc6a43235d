"""A console that notices when its output is closed."""

from rich.console import Console

from ..command_line import forget_output


class OutputClosedError(KeyboardInterrupt):
    """The standard output is closed, as in ``fsl-sage runs | head``.

    It ends a command like an interrupt: a run is ended with all its processes.
    """


class Terminal(Console):
    """The console of a command; a closed pipe ends the command."""

    def on_broken_pipe(self) -> None:
        """Raise :class:`OutputClosedError`, after which nothing more is printed."""
        self.quiet = True
        if not self.stderr:
            forget_output()
        raise OutputClosedError("the program that read the output has closed it")
