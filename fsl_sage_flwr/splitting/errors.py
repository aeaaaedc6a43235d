"""Errors raised while cutting a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..user_error import UserError


class SplitError(ValueError, UserError):
    """The model cannot be cut there; the message gives the reason and a fix."""

    exit_status = 2


class UnfaithfulError(SplitError):
    """The halves do not compute the model's outputs; another way of cutting may work."""


@contextmanager
def running_the_model(what: str) -> Iterator[None]:
    """Turn any error of the model's own code into an :class:`UnfaithfulError`, in one line."""
    try:
        yield
    except SplitError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise UnfaithfulError(f"{what}: {type(error).__name__}: {said}.") from error
