"""Errors raised while cutting a model."""


class SplitError(ValueError):
    """The model cannot be cut there; the message gives the reason and a fix."""


class UnfaithfulError(SplitError):
    """The halves do not compute the model's outputs; another way of cutting may work."""
