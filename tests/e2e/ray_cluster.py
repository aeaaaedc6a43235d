"""A Ray cluster of several nodes, all of them on this machine."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from .commands import BIN
from .deployment import free_port, wait_for

# Titles of Ray's processes: an actor's begins with the class, and has its method while it works.
ACTOR, WORKING = "ray::ClientAppActor", "ray::ClientAppActor.run"


class RayCluster:
    """Starts nodes with ``ray start``, as a user does, and kills them.

    Parameters
    ----------
    directory : Path
        For logs.
    environment : mapping, optional
        More environment variables of every node.

    Attributes
    ----------
    address : str
        ``HOST:PORT`` of the head.
    environment : dict
        What a process of this machine needs to find the cluster by itself, and only this one.
    nodes : list of subprocess.Popen
        The started nodes, the head first.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._until_exit = ExitStack()
        self._more = dict(environment or {})
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.address = f"127.0.0.1:{free_port()}"
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        # A socket's address may have a hundred characters; pytest's directories have more.
        short = self._until_exit.enter_context(tempfile.TemporaryDirectory(prefix="ray-"))
        self.environment = {"RAY_TMPDIR": short}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self.nodes:
            self.kill(node)
        self._until_exit.close()

    def start_node(self, cpus: int = 1) -> subprocess.Popen[bytes]:
        """Start a node; the first is the head."""
        number = len(self.nodes)
        port = self.address.rpartition(":")[2]
        which = (
            [f"--address={self.address}"]
            if number
            else ["--head", f"--port={port}", "--include-dashboard=false",
                  f"--ray-client-server-port={free_port()}"]
        )  # fmt: skip
        log = self._directory / f"ray-node-{number}.log"
        with log.open("wb") as output:
            node = subprocess.Popen(
                [
                    str(BIN / "ray"), "start", *which, f"--num-cpus={cpus}", "--num-gpus=0",
                    "--object-store-memory=200000000", "--disable-usage-stats", "--block",
                    # Several nodes, and other people's, share this machine's ports.
                    "--min-worker-port=0", "--max-worker-port=0",
                    f"--dashboard-agent-listen-port={free_port()}",
                ],
                env={**os.environ, **self.environment, **self._more},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.nodes.append(node)
        wait_for("the node", lambda: "Ray runtime started" in log.read_text(encoding="utf-8"))
        return node

    def actors(
        self, node: subprocess.Popen[bytes], *, at_work: bool = False
    ) -> list[psutil.Process]:
        """Return the processes of a node that are, or now work as, clients of a simulation."""
        title = WORKING if at_work else ACTOR
        return [one for one in self._family(node) if _has_title(one, title)]

    def raylet(self, node: subprocess.Popen[bytes]) -> psutil.Process:
        """Return the process that is a node as long as it lives."""
        (found,) = (one for one in self._family(node) if one.name() == "raylet")
        return found

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """End all processes of a node at once, as a power cut would."""
        for process in self._family(node):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()

    def _family(self, node: subprocess.Popen[bytes]) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(node.pid)
            return [parent, *parent.children(recursive=True)]
        return []


def _has_title(process: psutil.Process, title: str) -> bool:
    with suppress(psutil.Error):
        return any(title in word for word in process.cmdline())
    return False
