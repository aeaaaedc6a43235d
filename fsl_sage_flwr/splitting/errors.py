"""Errors raised while cutting a model."""

from ..user_error import UserError


class SplitError(ValueError, UserError):
    """The model cannot be cut there; the message gives the reason and a fix."""

    exit_status = 2


class UnfaithfulError(SplitError):
    """The halves do not compute the model's outputs; another way of cutting may work."""
