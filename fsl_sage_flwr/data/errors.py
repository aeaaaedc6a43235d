"""Error of unusable data."""


class DatasetError(ValueError):
    """The dataset cannot be used; the message gives the reason and a fix."""
