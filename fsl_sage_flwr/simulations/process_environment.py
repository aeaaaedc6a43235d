"""Build the environment variables of the processes that a command starts."""

import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec

from ..app.config import ConfigError

OWN_HOSTS = ("127.0.0.1", "localhost")
RAY_DIRECTORY = "RAY_TMPDIR"
# The address of a Unix socket has at most 107 bytes. Ray's are
# DIRECTORY/ray/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store.
LONGEST_FOR_SOCKETS = 107 - 68
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which processes of this machine reach each other without a proxy.

    The user's own exclusions and proxies stay, because a tracker or a download may need them. SOCKS
    proxies are dropped if their package is not installed: Flower's HTTP client then refuses to
    start, even with exclusions.
    """
    found = dict(environment)
    theirs = found.get("no_proxy") or found.get("NO_PROXY") or ""
    hosts = [host.strip() for host in theirs.split(",") if host.strip()]
    added = [host for host in OWN_HOSTS if host not in hosts]
    # Some programs read the one, some the other.
    found["no_proxy"] = found["NO_PROXY"] = ",".join([*hosts, *added])
    if find_spec("socksio") is None:
        for name in [name for name in found if name.lower() in _PROXIES]:
            if found[name].lower().startswith("socks"):
                del found[name]
    return found


def with_utf8(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python processes write UTF-8 in any locale."""
    return {**environment, "PYTHONIOENCODING": "utf-8:backslashreplace"}


def temporary_directory() -> str:
    """Return a directory with a path that Ray and Flower can use: short and ASCII.

    ``RAY_TMPDIR`` if it is set, else the system's (``TMPDIR``), else ``/tmp``.

    Raises
    ------
    ConfigError
        None of them is usable.
    """
    given = os.environ.get(RAY_DIRECTORY)
    usual = given or tempfile.gettempdir()
    for path in (usual,) if given else (usual, "/tmp"):
        if _fits(path):
            return path
    raise ConfigError(
        f"{RAY_DIRECTORY if given else 'TMPDIR'} = {usual!r}: Ray needs a directory that can be "
        f"written to, with at most {LONGEST_FOR_SOCKETS} ASCII characters; set "
        f"{RAY_DIRECTORY} to one"
    )


def _fits(path: str) -> bool:
    plain = path.isascii() and path.isprintable() and not set(path) & set("%?#\\")
    return plain and len(path) <= LONGEST_FOR_SOCKETS and os.access(path, os.W_OK | os.X_OK)
