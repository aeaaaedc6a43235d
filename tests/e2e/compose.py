"""The Docker example without Docker: its commands, word for word, as processes of this machine."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import yaml

from .commands import ROOT
from .deployment import Deployment, free_port, wait_for

COMPOSE = yaml.safe_load((ROOT / "examples" / "docker" / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LINK, PROXY = "superlink", "proxy"


def program(service: str) -> str:
    """Return what a service's image begins with."""
    of = SERVICES[service]
    image = of["image"] if "image" in of and "build" not in of else ""
    if "build" in of:
        folder = ROOT / "examples" / "docker" / of["build"]["context"]
        text = (folder / of["build"]["dockerfile"]).read_text(encoding="utf-8")
        image = re.findall(r"^FROM (\S+)", text, re.M)[-1]
    return f"flower-{image.partition(':')[0].removeprefix('flwr/')}"


class Composed(Deployment):
    """Starts every service; what Docker would do for names and ports is written into the words."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, secure=True, keys=2)
        self.ports = {name: free_port() for name in SERVICES} | {LINK: self.port}
        self.services: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Start all services: the SuperNodes when their keys are known, which end before that.

        Docker starts them again until they are.
        """
        super().__enter__()
        # Without nginx on this machine the SuperNodes reach the SuperLink itself.
        with_proxy = shutil.which("nginx") is not None
        self.ports[PROXY] = self.start_proxy() if with_proxy else self.port
        for name in SERVICES:
            if name not in (LINK, PROXY):
                self.start_service(name)
        return self

    def start_link(self) -> None:
        """Start the SuperLink, and wait until it listens."""
        (self._directory / "state").mkdir()  # as its image does
        self.start_service(LINK)
        wait_for("the SuperLink", self._listens)

    def start_service(self, name: str) -> None:
        """Start a service, also again."""
        self.services[name] = self._start(program(name), *map(self._here(name), self._words(name)))
        if name == LINK:
            self.link = self.services[name]

    def _words(self, name: str) -> list[str]:
        return [str(word) for word in SERVICES[name]["command"]]

    def _here(self, name: str) -> Any:
        def translated(word: str) -> str:
            option, equals, value = word.partition("=")
            host = value.partition(":")[0]
            if option == "--port":
                return f"--port={self.ports[name]}"
            if option == "--host":
                return "--host=127.0.0.1"
            if equals and ":" in value and host in SERVICES:
                return f"{option}=127.0.0.1:{self.ports[host]}"
            return word

        return translated
