"""Errors raised while cutting a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

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


class OtherFunctionError(UnfaithfulError):
    """The outputs differ by more than rounding."""


def tied_across(at: str, names: str) -> str:
    """Return the error of a trained weight in both halves, named by its two names."""
    return (
        f"weights are tied across the cut {at!r}: {names} are one trained tensor, and each half "
        "would train its own copy. Freeze it (requires_grad_(False)), untie it (give one module "
        "a clone, or tie_word_embeddings=False), or train an adapter."
    )


def never_called(at: str, module: nn.Module) -> str:
    """Return the error of a cut at a module that no forward calls, such as a ``ModuleList``."""
    inner = [name for name, _ in module.named_children()]
    lists = isinstance(module, nn.ModuleList | nn.ModuleDict) and inner
    name = f"one that it has: {at}.{inner[-1]}" if lists else "another module"
    return f"cut {at!r} is never called in forward; name {name}."


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
