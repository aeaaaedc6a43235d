"""Errors of cutting a model."""


class SplitError(ValueError):
    """The model cannot be cut there; the message says why and what to do."""


class UnfaithfulError(SplitError):
    """The halves do not compute what the model computes; another way to cut it may work."""
