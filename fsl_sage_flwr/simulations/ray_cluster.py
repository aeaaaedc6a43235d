"""A Ray cluster that is there already: its address, and whether anybody listens at it."""

import socket

from ..app.config import ConfigError

# Ray itself reads it, in the process that Flower's simulation runs in.
VARIABLE = "RAY_ADDRESS"
# Ray's word for: no cluster, start one.
LOCAL = "local"
ANSWERS_WITHIN = 1.0


def cluster_address(given: str) -> str | None:
    """Return the address of the cluster that is meant; None if it is a Ray of the run's own.

    Parameters
    ----------
    given : str
        ``HOST:PORT``, ``local`` or nothing.

    Raises
    ------
    ConfigError
        It is none of these.
    """
    if given in ("", LOCAL):
        return None
    host, colon, port = given.rpartition(":")
    if "/" in given or not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
        raise ConfigError(
            f"Ray address {given!r}: give HOST:PORT as `ray start --head` prints it, e.g. "
            f"192.0.2.1:6379, or {LOCAL} for a Ray of the run's own (--ray-address, or {VARIABLE})"
        )
    return given


def refuse_if_nobody_listens(address: str) -> None:
    """Connect to an address, and hang up.

    Ray would try it for minutes, and end with a page of its log.

    Raises
    ------
    ConfigError
        Nobody answers there.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise ConfigError(
            f"Ray address {address!r}: nobody listens there ({reason}); start the cluster, or "
            f"give --ray-address {LOCAL} for a Ray of the run's own"
        ) from error
