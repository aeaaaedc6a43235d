"""Return the settings of an algorithm's shortest run that trains both halves."""

from typing import Any

# Ampere trains one half after the other.
NEEDED: dict[str, dict[str, Any]] = {"ampere": {"num-server-rounds": 2, "ampere.client-rounds": 1}}


def few_rounds(algorithm: str) -> dict[str, Any]:
    """Return the settings that the algorithm needs beside ``num-server-rounds`` of 1 or 2."""
    return NEEDED.get(algorithm, {})
