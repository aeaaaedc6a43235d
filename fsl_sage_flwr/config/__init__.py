"""Settings: typed declarations, their checks, and what is derived from them."""

from .options import (
    Options,
    arguments_of,
    check_arguments,
    check_options,
    read_options,
    settings_of,
    values_of,
)
from .setting import Check, Setting, SettingError, one_of, setting

__all__ = [
    "Check",
    "Options",
    "Setting",
    "SettingError",
    "arguments_of",
    "check_arguments",
    "check_options",
    "one_of",
    "read_options",
    "setting",
    "settings_of",
    "values_of",
]
