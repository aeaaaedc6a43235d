"""Read from the hub at once, or from its cache where there is no network."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 5.0  # seconds for one connection


@contextmanager
def hub_or_cache() -> Iterator[str]:
    """Let `datasets` read cached data alone where the hub cannot be reached.

    `huggingface_hub` repeats each request for half a minute, with a line each time. One connection
    tells whether there is a network; behind a proxy none is tried.

    Yields
    ------
    str
        Why the hub cannot be reached; empty if it can.
    """
    import datasets
    from huggingface_hub import constants

    if datasets.config.HF_HUB_OFFLINE or getproxies().keys() - {"no"}:
        yield ""
        return
    why = _problem_with(constants.ENDPOINT)
    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if why:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield why
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _problem_with(address: str) -> str:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except OSError as error:
        return f"{host} cannot be reached: {error}"
    return ""
