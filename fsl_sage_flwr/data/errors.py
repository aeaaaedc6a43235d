"""Error of unusable data."""

from ..user_error import UserError


class DatasetError(ValueError, UserError):
    """The dataset cannot be used; the message gives the reason and a fix."""
