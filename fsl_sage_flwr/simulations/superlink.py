"""Start a SuperLink for one command, and end it with the command."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from ..cpus import LIMIT
from ..user_error import UserError
from .process_environment import with_utf8, without_proxies
from .ray_cluster import LOCAL, VARIABLE

log = logging.getLogger("flwr.fsl_sage")

CONNECTION = "fsl-sage"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
# Seconds after which a hanging Flower command is ended.
RUN_TIMEOUT, STATUS_TIMEOUT = 600.0, 120.0
# Number of characters kept of Flower's log of a failed run.
LONGEST_END = 100_000
# Prefix of a status without an answer from Flower.
UNKNOWN = "unknown"


class FlowerError(RuntimeError, UserError):
    """Flower did not do what was requested; the text is the end of its output."""


class SuperLink:
    """Starts ``flower-superlink`` for simulations on a free port, and ends it.

    The user's Flower home is neither read nor written.

    Parameters
    ----------
    directory : Path
        Directory for the SuperLink's home and state, with a short ASCII path.
    working_directory : Path
        Working directory of the SuperLink: the app's directory.
    log : Path
        File to which all processes append their output.
    threads : int
        Number of threads per process, for server and clients alike.
    cpus : int
        Number of CPUs that the server may use while the clients wait.
    visible_gpus : str, optional
        GPUs visible to the processes, as in ``CUDA_VISIBLE_DEVICES``.
    ray_address : str, optional
        Address of an existing Ray cluster for the clients; by default the simulation starts Ray.
    environment : mapping, optional
        Additional environment variables for the processes.
    """

    def __init__(
        self,
        directory: Path,
        working_directory: Path,
        log: Path,
        threads: int,
        cpus: int,
        visible_gpus: str | None = None,
        ray_address: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._threads, self._cpus, self._visible_gpus = threads, cpus, visible_gpus
        self._ray_address = ray_address or LOCAL
        self._extra = dict(environment or {})
        self._home = directory / "flower-home"
        self._cwd = working_directory
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def __enter__(self) -> Self:
        port = _free_port()
        self._home.mkdir(parents=True)
        (self._home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n'
            f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        command = [
            _program("flower-superlink"), "--insecure", "--simulation",
            "--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port),
            "--disable-runtime-dependency-installation",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                command, cwd=self._cwd, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while not _listens(self._process.pid, port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_bytes()[begin:].decode("utf-8", "replace")[-2000:]
                self._stop()
                raise FlowerError(f"flower-superlink did not start:\n{said}")
            time.sleep(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, app: Path, run_config: Path, federation: dict[str, float]) -> int:
        """Start a run; return its id.

        Raises
        ------
        FlowerError
            ``flwr run`` refused the run.
        """
        options = " ".join(f"{key}={value}" for key, value in federation.items())
        words = ["run", str(app), CONNECTION, "--run-config", str(run_config)]
        answer = self._flwr(*words, "--federation-config", options, timeout=RUN_TIMEOUT)
        if not answer.get("success") or "run-id" not in answer:
            raise FlowerError(f"flwr run: {answer.get('error-message', answer)}")
        return int(answer["run-id"])

    @property
    def is_alive(self) -> bool:
        """Whether the SuperLink's process is alive."""
        return self._process is not None and self._process.poll() is None

    def status(self, run_id: int) -> str:
        """Return the run's status as Flower words it: ``finished:failed (No heartbeat …)``.

        The status of an ended SuperLink names its exit status. ``unknown`` means that Flower did
        not answer; the run may be in any state.
        """
        if not self.is_alive:
            code = UNKNOWN if self._process is None else self._process.returncode
            return f"finished:failed (flower-superlink is gone, with exit status {code})"
        try:
            answer = self._flwr("list", "--run-id", str(run_id), timeout=STATUS_TIMEOUT)
        except (FlowerError, OSError) as error:
            log.warning("the run's status is unknown, and will be requested again: %s", error)
            return UNKNOWN
        runs = answer.get("runs") or [{}]
        status, details = runs[0].get("status", UNKNOWN), runs[0].get("status-details")
        return f"{status} ({details})" if details not in (None, "", "N/A") else str(status)

    def keep_log_of(self, run_id: int) -> None:
        """Append the end of Flower's log of a run to the log, if available.

        It has the reason of a failure before the start of the ServerApp, in Ray for example.
        """
        if not self.is_alive:
            return
        with suppress(FlowerError, OSError):
            done = self._ask("log", str(run_id), "--show", timeout=STATUS_TIMEOUT)
            with self.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"\nThe end of Flower's log of the run:\n{done.stdout[-LONGEST_END:]}")

    def _flwr(self, *words: str, timeout: float) -> dict[str, Any]:
        done = self._ask(*words, "--format", "json", timeout=timeout)
        try:
            answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        except ValueError:
            output = (done.stdout + done.stderr).strip()[-2000:]
            raise FlowerError(f"flwr {words[0]} said: {output}") from None
        return answer

    def _ask(self, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a Flower command.

        Raises
        ------
        FlowerError
            The command hangs.
        """
        try:
            return subprocess.run(
                [_program("flwr"), *words],
                cwd=self._cwd, env=self._environment(), stdin=subprocess.DEVNULL,
                capture_output=True, encoding="utf-8", errors="replace", check=False,
                timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise FlowerError(f"flwr {words[0]} gave no answer within {timeout:g} s") from error

    def _environment(self) -> dict[str, str]:
        return {
            **with_utf8(without_proxies({**os.environ, **self._extra})),
            # Flower starts its programs by name; they are in this Python's directory.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "FLWR_HOME": str(self._home),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            # Also without a cluster: otherwise Ray uses any cluster started on this machine.
            VARIABLE: self._ray_address,
            LIMIT: str(self._cpus),
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            **({} if self._visible_gpus is None else {"CUDA_VISIBLE_DEVICES": self._visible_gpus}),
            # Server and clients share the cores: limit each process's threads, and let waiting
            # threads sleep.
            "OMP_NUM_THREADS": str(self._threads),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        }

    def _stop(self) -> None:
        """End the SuperLink and everything that it started, including Ray's processes.

        An existing Ray cluster is left alone; it ends the clients' processes itself once the
        simulation has ended.
        """
        if self._process is None:
            return
        family = self._family(self._process.pid)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT)
        for process in {*alive, *self._family(self._process.pid)}:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process = None

    def _family(self, pid: int) -> list[psutil.Process]:
        """Return this SuperLink's descendants, and orphans with its environment.

        Both are needed: Ray's agents overwrite their environment with their title, and other Ray
        processes may have lost their parent.
        """
        family = set[psutil.Process]()
        with suppress(psutil.NoSuchProcess):
            superlink = psutil.Process(pid)
            family.update([superlink, *superlink.children(recursive=True)])
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("FLWR_HOME") == str(self._home):
                    family.add(process)
        return list(family)


def _program(name: str) -> str:
    """Return the path of one of Flower's programs, preferably in this Python's environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FlowerError(f"{name} is not installed here; pip install 'flwr[simulation]'")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(pid: int, port: int) -> bool:
    """Return whether a process or one of its children listens at a port.

    Another SuperLink may have taken the port meanwhile, and would get our run.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            for connection in each.net_connections(kind="tcp"):
                listening = connection.status == psutil.CONN_LISTEN
                if listening and connection.laddr.port == port:
                    return True
    return False
