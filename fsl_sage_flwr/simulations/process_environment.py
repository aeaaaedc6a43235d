"""The environment variables of the processes that a command starts."""

import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec

from ..app.config import ConfigError

OWN_HOSTS = ("127.0.0.1", "localhost")
RAY_DIRECTORY = "RAY_TMPDIR"
# An address of a Unix socket has 107 bytes at most. Ray's are
# DIRECTORY/ray/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store.
LONGEST_FOR_SOCKETS = 107 - 68
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def unproxied(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which processes of this machine reach each other without a proxy.

    What the user has excluded stays excluded, and everything else uses the proxies as before: a
    tracker or a download may need them. SOCKS proxies are left out where the package for them is
    not installed: Flower's HTTP client then refuses to start, whatever is excluded.
    """
    found = dict(environment)
    theirs = found.get("no_proxy") or found.get("NO_PROXY") or ""
    hosts = [host.strip() for host in theirs.split(",") if host.strip()]
    added = [host for host in OWN_HOSTS if host not in hosts]
    # Programs read one or the other.
    found["no_proxy"] = found["NO_PROXY"] = ",".join([*hosts, *added])
    if find_spec("socksio") is None:
        for name in [name for name in found if name.lower() in _PROXIES]:
            if found[name].lower().startswith("socks"):
                del found[name]
    return found


def speaking_utf8(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python processes write UTF-8, whatever the locale is."""
    return {**environment, "PYTHONIOENCODING": "utf-8:backslashreplace"}


def temporary_directory() -> str:
    """Return a directory whose path Ray and Flower can use: short, and only ASCII.

    ``RAY_TMPDIR`` if it is set, else the system's (``TMPDIR``), else ``/tmp``.

    Raises
    ------
    ConfigError
        None of them can be used.
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
