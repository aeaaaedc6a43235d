"""Behind the documented proxy an outsider reaches the SuperNodes' API and nothing else."""

import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .deployment import CONNECTION, Deployment, free_port, wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
FLEET = "/v1/fleet/"
LIMIT = 16 * 2**20  # client_max_body_size of the example


class Guarded(Deployment):
    """A SuperLink with TLS and authentication behind the example's nginx."""

    proxy: int


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("guarded"), secure=True, keys=1) as deployment:
        deployment.proxy = deployment.start_proxy()
        yield deployment


def ask(
    deployment: Guarded, port: int, method: str, path: str, body: bytes = b""
) -> tuple[int, bytes]:
    """Send one request as a client that has nothing but the authority's certificate."""
    trusted = ssl.create_default_context(cafile=str(deployment.home.parent / "keys" / "ca.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusted, timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_every_path_but_the_nodes_is_refused(guarded: Guarded) -> None:
    status, described = ask(guarded, guarded.port, "GET", "/openapi.json")
    assert status == 200  # the SuperLink itself hides nothing
    paths = [path for path in json.loads(described)["paths"] if not path.startswith(FLEET)]
    assert any(path.startswith("/v1/control/") for path in paths)
    assert any(path.startswith("/v1/runtime/") for path in paths)
    tricks = [
        f"{FLEET}../control/list-runs", f"{FLEET}%2e%2e/control/list-runs",
        f"{FLEET}..%2fcontrol/list-runs", "//v1/control/list-runs", "/v1//control/list-runs",
        "/V1/CONTROL/list-runs", "/", "/docs", "/openapi.json",
    ]  # fmt: skip
    for path in [*paths, *tricks]:
        for method in ("GET", "POST"):
            assert ask(guarded, guarded.proxy, method, path)[0] == 403, (method, path)


def test_a_stranger_registers_no_key_and_starts_no_app(guarded: Guarded, tmp_path: Path) -> None:
    """With the authority's certificate alone all of it works on the SuperLink's own port."""
    config = guarded.home / "config.toml"
    ours = config.read_text(encoding="utf-8")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", str(tmp_path / "mine")],
        check=True,
    )
    register = ("supernode", "register", str(tmp_path / "mine.pub"), CONNECTION)
    try:
        config.write_text(ours.replace(f":{guarded.port}", f":{guarded.proxy}"), encoding="utf-8")
        for words in (register, ("list", CONNECTION), ("supernode", "list", CONNECTION)):
            with pytest.raises(RuntimeError):
                guarded.flwr(*words)
    finally:
        config.write_text(ours, encoding="utf-8")
    guarded.flwr(*register)  # what the proxy keeps away


def test_a_strangers_superexec_takes_no_task(guarded: Guarded) -> None:
    stranger = guarded._start(
        "flower-superexec", "--root-certificates", "keys/ca.crt",
        "--runtime-api-address", f"127.0.0.1:{guarded.proxy}",
    )  # fmt: skip
    refused = guarded.home.parent / "nginx" / "access.log"
    wait_for("the refusal", lambda: "/v1/runtime/" in refused.read_text(encoding="utf-8"))
    asked = [
        line for line in refused.read_text(encoding="utf-8").splitlines() if "/v1/runtime/" in line
    ]
    assert all('" 403 ' in line for line in asked)
    guarded.kill(stranger)


def test_a_node_registers_through_the_proxy(guarded: Guarded) -> None:
    node = guarded.start_node(0, of=1, through=guarded.proxy)
    wait_for("the node online", lambda: '"online"' in guarded.flwr(
        "supernode", "list", CONNECTION, "--format", "json"))  # fmt: skip
    guarded.kill(node)


def test_a_request_above_the_limit_is_refused_and_one_below_is_read(guarded: Guarded) -> None:
    path = f"{FLEET}push-object"
    assert ask(guarded, guarded.proxy, "POST", path, bytes(LIMIT + 1))[0] == 413
    assert ask(guarded, guarded.proxy, "POST", path, bytes(6 * 2**20))[0] not in (403, 413, 502)


def test_a_stranger_without_a_key_is_no_node(guarded: Guarded) -> None:
    found = guarded._start(
        "flower-supernode", "--root-certificates", "keys/ca.crt",
        "--superlink", f"127.0.0.1:{guarded.proxy}", "--host", "127.0.0.1",
        "--port", str(free_port()),
    )  # fmt: skip
    wait_for("the refusal", lambda: found.poll() is not None)
    assert found.returncode
