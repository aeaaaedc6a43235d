"""The compose file and the Dockerfiles say the same, and what this package needs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROXY = (FOLDER / "nginx.conf").read_text(encoding="utf-8")
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))


def options(service: str) -> dict[str, str]:
    """Return a service's command, as option to value."""
    return dict(word.partition("=")[::2] for word in SERVICES[service].get("command", []))


def mounts(service: str) -> dict[str, str]:
    """Return a service's mounted files and volumes, by their path in the container."""
    found = (volume.split(":")[:2] for volume in SERVICES[service].get("volumes", []))
    return {inside: outside for outside, inside in found}


def test_the_images_are_of_one_version_that_this_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (flower,) = (
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == "flwr"
    )
    texts = [file.read_text(encoding="utf-8") for file in (FOLDER / "compose.yml", *DOCKERFILES)]
    found = re.findall(r"FLWR_VERSION(?::-|=)([\w.]+)", "\n".join(texts))
    assert len(found) > len(DOCKERFILES)
    assert set(found) == {found[0]}
    assert flower.specifier.contains(found[0])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_reached_where_it_listens(service: str) -> None:
    given = options(service)
    addresses = [given[key] for key in ("--superlink", "--runtime-api-address") if key in given]
    assert addresses or service in ("superlink", "proxy")
    for host, _, port in (address.partition(":") for address in addresses):
        if host == "proxy":
            assert f"listen {port} ssl;" in PROXY
        else:
            assert options(host)["--port"] == port
            assert options(host)["--host"] == "0.0.0.0"
        assert SERVICES[service]["depends_on"] == [host]
        assert set(SERVICES[service]["networks"]) & set(SERVICES[host]["networks"])


def test_every_supernode_is_another_client_and_has_who_starts_its_clientapps() -> None:
    nodes = [name for name in SERVICES if name.startswith("supernode")]
    said = [options(name)["--node-config"] for name in nodes]
    assert said == [
        f"partition-id={number} num-partitions={len(nodes)}" for number in range(len(nodes))
    ]
    served = [options(name).get("--runtime-api-address", "").partition(":")[0] for name in SERVICES]
    for name in ("superlink", *nodes):
        assert options(name)["--isolation"] == "process"
        assert served.count(name) == 1


def test_the_network_reaches_the_proxy_alone_and_no_node_the_superlink() -> None:
    published = {name: of["ports"] for name, of in SERVICES.items() if "ports" in of}
    assert published == {"superlink": ["127.0.0.1:8000:8000"], "proxy": ["9093:9093"]}
    assert SERVICES["superlink"]["networks"] == SERVICES["serverapp"]["networks"] == ["server"]
    others = [of for name, of in SERVICES.items() if name.startswith(("supernode", "clientapp"))]
    assert not [of for of in others if "server" in of["networks"]]
    locations = re.findall(r"location (\S+) \{\s+(\S+ \S+;)", PROXY)
    assert locations == [
        ("/v1/fleet/", "proxy_pass https://superlink:8000;"), ("/", "return 403;")
    ]  # fmt: skip


def test_every_key_is_mounted_where_it_is_named_and_nowhere_else() -> None:
    for service in SERVICES:
        named = {value for value in options(service).values() if value.startswith("keys/")}
        named |= (
            set(re.findall(r"/etc/nginx/(keys/[\w.]+)", PROXY)) if service == "proxy" else set()
        )
        mounted = {outside for outside in mounts(service).values() if outside.startswith("./keys/")}
        assert mounted == {f"./{name}" for name in named}


def test_what_the_dockerfiles_copy_and_the_compose_file_builds_is_there() -> None:
    copied = re.findall(
        r"^COPY --chown=app:app (.*) /app/source/",
        (FOLDER / "app.Dockerfile").read_text(encoding="utf-8"),
        re.M,
    )
    names = " ".join(copied).split()
    assert {"pyproject.toml", "fsl_sage_flwr"} <= set(names)
    assert all((ROOT / name).exists() for name in names)
    for service in SERVICES.values():
        if "build" in service:
            context = FOLDER / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()


def test_a_volume_is_on_a_directory_that_its_image_has() -> None:
    """Docker gives a new volume that directory's owner, and root where there is none."""
    made = "\n".join(file.read_text(encoding="utf-8") for file in DOCKERFILES)
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            name, path, *_ = volume.split(":")
            if not name.startswith("./"):
                assert name in COMPOSE["volumes"]
                assert f"mkdir {path}" in made
