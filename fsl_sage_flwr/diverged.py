"""The error that ends a run whose values are no longer numbers."""


class DivergedError(RuntimeError):
    """A loss or a weight on the server is not finite: there is nothing left to train."""
