"""Errors raised while cutting a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..user_error import UserError


class SplitError(ValueError, UserError):
    """The model cannot be cut there; the message gives the reason and a fix."""

    exit_status = 2


class UnfaithfulError(SplitError):
    """The halves do not compute the model's outputs; another way of cutting may work."""


class RawInputError(SplitError):
    """A raw input would cross the cut.

    Parameters
    ----------
    message : str
        The reason and a fix.
    name : str
        Name of the input.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def tied_across(at: str, names: str) -> str:
    """Return the error of a trained weight in both halves, named by its two names."""
    return (
        f"weights are tied across the cut {at!r}: {names} are one trained tensor, and each half "
        "would train its own copy. Freeze it (requires_grad_(False)), untie it (give one module "
        "a clone, or tie_word_embeddings=False), or train an adapter."
    )


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
