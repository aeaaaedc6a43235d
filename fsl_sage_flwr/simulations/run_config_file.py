"""Write the run-configuration file of ``flwr run``."""

import json
from collections.abc import Mapping
from typing import Any


def as_toml(values: Mapping[str, Any]) -> str:
    """Return a TOML document of booleans, numbers and texts by key."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    # JSON's escapes are TOML's, except for characters beyond U+FFFF (two halves) and DEL (none).
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
