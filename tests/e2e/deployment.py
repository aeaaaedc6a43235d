"""A real SuperLink with SuperNodes on loopback, with or without TLS and authentication."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fsl_sage_flwr.simulations.process_environment import without_proxies

from . import forked_programs
from .commands import BIN, PATIENCE, ROOT, kill_started_by, started_by

CONNECTION = "loopback"
KEYS = ROOT / "examples" / "docker" / "keys.sh"


# The tests' workers start SuperLinks at the same time: each takes separate ports, below those
# that the system assigns.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = iter(range(20000 + 1000 * _WORKER, 21000 + 1000 * _WORKER))


def free_port() -> int:
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(
    what: str, happened: Callable[[], Any], seconds: float = PATIENCE, pause: float = 0.5
) -> Any:
    """Wait until something is true; return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = happened()
        if found:
            return found
        time.sleep(pause)
    raise TimeoutError(f"{what} did not happen within {seconds:g} s")


class Deployment:
    """A SuperLink, and SuperNodes that are started one by one.

    Parameters
    ----------
    directory : Path
        For its home, logs, keys and certificates.
    secure : bool
        With TLS, and SuperNodes that prove who they are.
    environment : dict, optional
        More environment variables of every process.
    link_options : sequence of str
        More options of the SuperLink.
    forked : bool
        Fork the processes of messages and runs (``forked_programs`` explains it), instead of
        having each of them import all libraries.
    keys : int
        SuperNodes that the SuperLink knows, where they have to prove who they are.
    """

    def __init__(
        self,
        directory: Path,
        *,
        secure: bool = False,
        environment: dict[str, str] | None = None,
        link_options: Sequence[str] = (),
        forked: bool = True,
        keys: int = 3,
    ) -> None:
        self._directory, self._secure, self._link_options = directory, secure, link_options
        self._keys = [f"node{place}" for place in range(keys)]
        self._forked = forked and sys.platform == "linux"
        self.home, self.port = directory / "home", free_port()
        path = [str(BIN), os.environ["PATH"]]
        if self._forked:
            path.insert(0, str(forked_programs.stand_ins()))
        self._environment = {
            **without_proxies(os.environ),
            "PATH": os.pathsep.join(path),
            "FLWR_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            # Every process of a message would compile the app anew.
            "PYTHONDONTWRITEBYTECODE": "",
            **(environment or {}),
        }
        self._logs: dict[int, Path] = {}
        self.link: subprocess.Popen[bytes] | None = None
        self._proxy: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        trust = "insecure = true"
        if self._secure:
            self._make_keys()
            trust = f'root-certificates = "{self._directory}/keys/ca.crt"'
        (self.home / "config.toml").write_text(
            f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{self.port}"\n{trust}\n',
            encoding="utf-8",
        )
        self.start_link()
        if self._secure:
            for key in self._keys:
                self.flwr("supernode", "register", f"keys/{key}.pub", CONNECTION)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        kill_started_by(str(self.home))
        if self._proxy is not None:  # it writes its title over its environment
            self.kill(self._proxy)

    def start_link(self) -> None:
        """Start the SuperLink, and wait until it listens."""
        security = (
            ["--ssl-ca-certfile", "keys/ca.crt", "--ssl-certfile", "keys/server.pem",
             "--ssl-keyfile", "keys/server.key", "--enable-supernode-auth"]
            if self._secure
            else ["--insecure"]
        )  # fmt: skip
        self.link = self._start(
            "flower-superlink", *security, "--host", "127.0.0.1", "--port", str(self.port),
            "--disable-runtime-dependency-installation", *self._link_options,
        )  # fmt: skip
        wait_for("the SuperLink", self._listens)

    def start_node(
        self,
        partition: int,
        of: int = 2,
        *,
        key: int | None = None,
        more: str = "",
        options: Sequence[str] = (),
        through: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a SuperNode; ``through`` is a port that passes on to the SuperLink's."""
        security = (
            ["--root-certificates", "keys/ca.crt",
             "--auth-supernode-private-key", f"keys/node{partition if key is None else key}"]
            if self._secure
            else ["--insecure"]
        )  # fmt: skip
        return self._start(
            "flower-supernode", *security, "--superlink", f"127.0.0.1:{through or self.port}",
            "--host", "127.0.0.1", "--port", str(free_port()),
            "--node-config", f"partition-id={partition} num-partitions={of} {more}", *options,
        )  # fmt: skip

    def start_nodes(self, number: int) -> list[subprocess.Popen[bytes]]:
        """Start SuperNodes at once, and wait until the SuperLink has let each of them in.

        A round begins with those that are there.
        """
        nodes = [self.start_node(partition, of=number) for partition in range(number)]
        for node in nodes:
            self.wait_for_node(node)
        return nodes

    def wait_for_node(self, node: subprocess.Popen[bytes]) -> None:
        wait_for("the SuperNode", lambda: "SuperNode ID" in self.log_of(node))

    def run(self, app: Path = ROOT, **config: Any) -> int:
        """Start a run; return its id."""
        words = " ".join(
            f"{key.replace('_', '-')}={json.dumps(value)}".replace('"', "'")
            for key, value in config.items()
        )
        done = self.flwr("run", str(app), CONNECTION, "--run-config", words, "--format", "json")
        started = json.loads(done[done.index("{") :])
        assert "run-id" in started, done
        return int(started["run-id"])

    def status(self, run: int) -> str:
        answer = self.flwr("list", "--run-id", str(run), CONNECTION, "--format", "json")
        return str(json.loads(answer[answer.index("{") :])["runs"][0]["status"])

    def log(self, run: int) -> str:
        """Return what a run's ServerApp has said."""
        return self.flwr("log", str(run), CONNECTION, "--show")

    def follow(self, run: int) -> Path:
        """Return a file that grows with what a run's ServerApp says."""
        stream = self._start("flwr", "log", str(run), CONNECTION, "--stream")
        return self._logs[stream.pid]

    def finish(self, run: int) -> str:
        """Wait until a run has ended; return its status."""
        # To ask takes five CPU-seconds of a new process: only when its ServerApp has come and gone.
        wait_for(f"the ServerApp of run {run}", self._serves)
        wait_for(f"the end of run {run}", lambda: not self._serves())
        return str(
            wait_for(
                f"the end of run {run}",
                lambda: (s := self.status(run)).startswith("finished") and s,
            )
        )

    def flwr(self, *words: str) -> str:
        done = subprocess.run(
            ["flwr", *words], cwd=self._directory, env=self._environment, text=True,
            capture_output=True, timeout=PATIENCE, check=False,
        encoding="utf-8")  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"flwr {words[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and its children as a power cut would."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process is self.link:  # which was a stand-in: Flower's process ends after it
            wait_for("the SuperLink's end", lambda: not self._listens())

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process has said."""
        return self._logs[process.pid].read_text(errors="replace", encoding="utf-8")

    def logs(self) -> str:
        """Return what all processes have said."""
        return "\n".join(
            path.read_text(errors="replace", encoding="utf-8") for path in self._logs.values()
        )

    def start_proxy(self) -> int:
        """Start nginx before the SuperLink, by the example's file; return the port it listens on.

        What Docker would do for names, ports and folders is written into a copy of the file.
        """
        port, copy = free_port(), self._directory / "nginx.conf"
        folder = self._directory / "nginx"
        folder.mkdir()
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        text = (KEYS.parent / "nginx.conf").read_text(encoding="utf-8")
        for there, here in (
            ("listen 9093", f"listen 127.0.0.1:{port}"),
            ("superlink:8000", f"127.0.0.1:{self.port}"),
            ("/etc/nginx/keys", f"{self._directory}/keys"),
            ("http {", f"http {{\naccess_log {folder}/access.log;\n{own}"),
        ):
            text = text.replace(there, here)
        copy.write_text(text, encoding="utf-8")
        self._proxy = self._start(
            "nginx", "-c", str(copy), "-p", str(folder), "-e", "stderr",
            "-g", f"daemon off; pid {folder}/pid;",
        )  # fmt: skip
        wait_for("nginx", lambda: listens(port))
        return port

    def _make_keys(self) -> None:
        subprocess.run(
            ["sh", str(KEYS), str(len(self._keys))],
            cwd=self._directory, check=True, capture_output=True,
        )  # fmt: skip

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        path = self._directory / f"{len(self._logs)}-{Path(command[0]).name}.log"
        with path.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, cwd=self._directory, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._logs[process.pid] = path
        return process

    def _serves(self) -> bool:
        return bool(started_by(str(self.home), command="flwr-serverapp"))

    def _listens(self) -> bool:
        return listens(self.port)
