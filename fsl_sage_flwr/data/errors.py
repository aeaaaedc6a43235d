"""The error of data that cannot be used."""


class DatasetError(ValueError):
    """The dataset cannot be used; the message says why and what to do."""
