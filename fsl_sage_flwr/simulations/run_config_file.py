"""The file from which ``flwr run`` reads the run configuration."""

import json
from collections.abc import Mapping
from typing import Any


def as_toml(values: Mapping[str, Any]) -> str:
    """Return a TOML document of truth values, numbers and texts by key."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    # JSON's escapes are TOML's, but for characters beyond U+FFFF (as two halves) and DEL (not).
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
