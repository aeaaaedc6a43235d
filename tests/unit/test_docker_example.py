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
COMPOSE = yaml.safe_load((FOLDER / "compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))


def options(service: str) -> dict[str, str]:
    """Return a service's command, as option to value."""
    return dict(word.partition("=")[::2] for word in SERVICES[service]["command"])


def test_the_images_are_of_one_version_that_this_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (flower,) = (
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == "flwr"
    )
    texts = [file.read_text() for file in (FOLDER / "compose.yml", *DOCKERFILES)]
    found = re.findall(r"FLWR_VERSION(?::-|=)([\w.]+)", "\n".join(texts))
    assert len(found) > len(DOCKERFILES)
    assert set(found) == {found[0]}
    assert flower.specifier.contains(found[0])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_reached_where_it_listens(service: str) -> None:
    given = options(service)
    addresses = [given[key] for key in ("--superlink", "--runtime-api-address") if key in given]
    assert addresses or service == "superlink"
    for host, _, port in (address.partition(":") for address in addresses):
        assert options(host)["--port"] == port
        assert options(host)["--host"] == "0.0.0.0"
        assert SERVICES[service]["depends_on"] == [host]


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


def test_without_tls_nothing_but_this_machine_reaches_the_superlink() -> None:
    assert "--insecure" in options("superlink")
    assert SERVICES["superlink"]["ports"] == ["127.0.0.1:8000:8000"]
    assert not [name for name in SERVICES if name != "superlink" and "ports" in SERVICES[name]]


def test_what_the_dockerfiles_copy_and_the_compose_file_builds_is_there() -> None:
    copied = re.findall(
        r"^COPY --chown=app:app (.*) /app/source/", (FOLDER / "app.Dockerfile").read_text(), re.M
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
    made = "\n".join(file.read_text() for file in DOCKERFILES)
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            name, _, path = volume.partition(":")
            assert name in COMPOSE["volumes"]
            assert f"mkdir {path}" in made
