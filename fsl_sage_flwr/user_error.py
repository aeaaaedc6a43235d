"""The base class of errors whose text is for the user."""

from typing import ClassVar


class UserError(Exception):
    """Error whose text is one line: what happened, to which value, what is valid, what to do.

    Attributes
    ----------
    exit_status : int
        Exit status of a command that the error ends: 1, or 2 for a mistake in the command line.
    """

    exit_status: ClassVar[int] = 1
