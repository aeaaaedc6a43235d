"""A console whose output may be closed by the program that reads it."""

from rich.console import Console

from ..command_line import forget_output


class OutputClosedError(KeyboardInterrupt):
    """Nobody reads the standard output any more, as in ``fsl-sage runs | head``.

    It ends a command as an interrupt does: a run is ended with all its processes.
    """


class Terminal(Console):
    """The console of a command; a closed pipe ends the command."""

    def on_broken_pipe(self) -> None:
        """Raise :class:`OutputClosedError`, after which nothing more is printed."""
        self.quiet = True
        if not self.stderr:
            forget_output()
        raise OutputClosedError("the program that read the output has closed it")
