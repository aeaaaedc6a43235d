"""Flower's processes, forked from one that has imported what they import: for a ``Deployment``.

A SuperNode starts ``flwr-clientapp`` for every message and a SuperLink ``flwr-serverapp`` for
every run, by name: the first on the PATH. Five of the six CPU-seconds that each takes are the
imports of PyTorch, datasets, scikit-learn and Flower, and most of what the SuperLink, a SuperNode
and each ``flwr`` command take are Flower's; half of the rest is the import of this package. Here
they are made once; everything else is as it was: each process is a new one and runs Flower's own
program. That an app holds all that it needs is tested where nothing is forked.

``python forked_programs.py FD`` serves on a listening socket, until its input ends.
"""

import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

# What is called under each name, and what the app imports that runs in it, and the app.
PROGRAMS = {
    "flwr": ("flwr.cli.app", "app"),
    "flower-superlink": ("flwr.superlink.cli", "flower_superlink"),
    "flower-supernode": ("flwr.supernode.cli", "flower_supernode"),
    "flower-superexec": ("flwr.supercore.cli", "flower_superexec"),
    "flwr-clientapp": ("flwr.supernode.cli", "flwr_clientapp"),
    "flwr-serverapp": ("flwr.superlink.cli", "flwr_serverapp"),
}
LIBRARIES = (
    "flwr.app", "flwr.clientapp", "flwr.serverapp", "torch", "torch._dynamo", "datasets",
    "flwr_datasets.partitioner", "sklearn.datasets", "sklearn.model_selection",
    "fsl_sage_flwr.client_app", "fsl_sage_flwr.server_app",
)  # fmt: skip

# It lives as long as the process that it stands for: each sees the other's end of the connection
# close when that ends, in whatever way.
STAND_IN = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
connection.sendall(request)
sys.exit(int.from_bytes(connection.recv(1) or b"\\1"))
"""


def write_stand_ins(directory: Path, address: Path) -> None:
    """Write programs with Flower's names that have it done by who listens at an address."""
    directory.mkdir()
    for name in PROGRAMS:
        program = directory / name
        program.write_text(
            STAND_IN.format(python=sys.executable, address=str(address)), encoding="utf-8"
        )
        program.chmod(0o755)


def server() -> Path:
    """Start the process whose forks these are, once; return the address it listens at."""
    return _started()[0]


@cache
def _started() -> tuple[Path, subprocess.Popen[bytes]]:
    """Return the address and the process, which ends when its input is closed: with this one."""
    # A socket's address may have a hundred characters; pytest's directories have more.
    address = Path(tempfile.mkdtemp()) / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()  # before the first stand-in asks
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(listener.fileno())],
            stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True,
            # Arrow's allocator without its thread, which a fork would not have.
            env={**os.environ, "OMP_NUM_THREADS": "1",
                 "JE_ARROW_MALLOC_CONF": "background_thread:false"},
        )  # fmt: skip
    return address, process


def serve(listener: socket.socket) -> None:
    """Fork a process for each connection, until the standard input ends."""
    programs = {
        name: getattr(importlib.import_module(module), function)
        for name, (module, function) in PROGRAMS.items()
    }
    for library in LIBRARIES:
        importlib.import_module(library)
    # A thread would be missing in the forked processes, with whatever it holds.
    assert len(os.listdir("/proc/self/task")) == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no parent waits for them
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _become(programs, connection)
        connection.close()
    shutil.rmtree(Path(listener.getsockname()).parent)  # of the socket alone


def _become(programs: dict[str, Callable[[], None]], connection: socket.socket) -> None:
    """Do what the stand-in at the other end was started for, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 4, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += connection.recv(1 << 16)
    sys.argv, directory, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_die_with, args=[connection], daemon=True).start()
    status = 1
    try:
        programs[Path(sys.argv[0]).name]()
        status = 0
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise
    finally:
        sys.stdout.flush()
        with suppress(OSError):  # the stand-in has been killed
            connection.send(bytes([status % 256]))
    sys.exit()


def _die_with(connection: socket.socket) -> None:
    """Be killed when the stand-in is: it is in the group of who started it."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
