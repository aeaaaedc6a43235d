"""What the processes that a command starts find in their environment."""

import os
import tempfile
import tomllib
from pathlib import Path

import httpx
import pytest

from fsl_sage_flwr.app.config import ConfigError
from fsl_sage_flwr.simulations import process_environment
from fsl_sage_flwr.simulations.process_environment import (
    LONGEST_FOR_SOCKETS,
    RAY_DIRECTORY,
    temporary_directory,
    without_proxies,
)
from fsl_sage_flwr.simulations.run_config_file import as_toml

PROXY = "http://192.0.2.1:3128"
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def goes_through_a_proxy(url: str, environment: dict[str, str], patch: pytest.MonkeyPatch) -> bool:
    """Ask the HTTP client that Flower has."""
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        patch.delenv(name, raising=False)
    for name, value in environment.items():
        patch.setenv(name, value)
    with httpx.Client() as client:
        found = client._transport_for_url(httpx.URL(url))
        return found is not client._transport


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        *((name, {}) for name in PROXIES),
        ("http_proxy", {"no_proxy": "a.example"}),
        ("HTTPS_PROXY", {"NO_PROXY": "a.example,b"}),
    ],
)
def test_own_processes_are_not_proxied_and_others_are(
    name: str, theirs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: PROXY, **theirs}
    found = without_proxies(given)
    own, far = "http://127.0.0.1:9093", "http://far.example"
    scheme = "https" if name.lower().startswith("https") else "http"
    with monkeypatch.context() as patch:
        assert goes_through_a_proxy(own.replace("http", scheme), given, patch)
    with monkeypatch.context() as patch:
        assert not goes_through_a_proxy(own.replace("http", scheme), found, patch)
    with monkeypatch.context() as patch:
        assert goes_through_a_proxy(far.replace("http", scheme), found, patch)
    with monkeypatch.context() as patch:
        assert goes_through_a_proxy(f"{scheme}://a.example", found, patch) is not bool(theirs)
    assert given == {name: PROXY, **theirs}


def test_what_is_excluded_stays_as_it_is_and_nothing_is_added_twice() -> None:
    once = without_proxies({"no_proxy": "*"})
    assert once == dict.fromkeys(("no_proxy", "NO_PROXY"), "*,127.0.0.1,localhost")
    assert without_proxies(once) == once


def test_a_socks_proxy_without_its_package_stops_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_environment, "find_spec", lambda name: None)
    found = without_proxies({"ALL_PROXY": "socks5h://127.0.0.1:1080", "http_proxy": PROXY})
    assert "ALL_PROXY" not in found
    assert found["http_proxy"] == PROXY
    assert not goes_through_a_proxy("http://127.0.0.1:9093", found, monkeypatch)


@pytest.fixture
def no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RAY_DIRECTORY, raising=False)


@pytest.mark.usefixtures("no_directory")
@pytest.mark.parametrize("name", ["long" * 20, "ünïcode", "b\udce9", "50%", "a b\n"])
def test_a_directory_that_ray_cannot_use_is_passed_over(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert temporary_directory() == short
        path = Path(short) / name
        path.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(path))
        assert temporary_directory() == "/tmp"


@pytest.mark.parametrize("bad", ["/tmp/" + "x" * LONGEST_FOR_SOCKETS, "/nowhere", "/tmp/é"])
def test_one_that_was_asked_for_is_refused_in_a_line(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RAY_DIRECTORY, bad)
    with pytest.raises(ConfigError, match="at most 39 ASCII characters") as caught:
        temporary_directory()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(RAY_DIRECTORY, "/tmp")
    assert temporary_directory() == "/tmp"


def test_the_longest_directory_leaves_room_for_a_socket() -> None:
    session = "session_2026-01-31_23-59-59_123456_4194304"
    socket = Path("/" + "x" * (LONGEST_FOR_SOCKETS - 1)) / "ray" / session / "sockets/plasma_store"
    assert len(os.fsencode(socket)) == 107


@pytest.mark.parametrize(
    "value",
    ["/data/😀", "é", 'a"b\\c', "tab\tline\nbell\x07", "\x7f\x80", "", True, False, -3, 1e-5, 1e22,
     0.1, 2**63 - 1],
)  # fmt: skip
def test_the_run_config_is_valid_toml(value: object) -> None:
    assert tomllib.loads(as_toml({"a-key": value})) == {"a-key": value}
