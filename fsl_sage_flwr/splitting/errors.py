"""What can be wrong with a cut."""


class SplitError(ValueError):
    """The model cannot be cut there; the message says why and what to do."""


class UnfaithfulError(SplitError):
    """One way to cut does not compute what the model computes; another may."""
