"""Flower's processes, forked from one that has imported what they import.

A SuperNode starts ``flwr-clientapp`` for every message and a SuperLink ``flwr-serverapp`` for
every run, by name: the first on the PATH. Five of the six CPU-seconds that each takes are the
imports of PyTorch, datasets, scikit-learn and Flower, and most of what the SuperLink, a SuperNode
and each ``flwr`` command take are Flower's; half of the rest is the import of this package. Here
they are made once; everything else is as it was: each process is a new one and runs Flower's own
program. So it is with a simulation's processes, Ray's aside, and with ``fsl-sage``. That an app
holds all that it needs is tested where nothing is forked.

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
    "flwr-simulation": ("flwr.simulation.app", "flwr_simulation"),
    "fsl-sage": ("fsl_sage_flwr.cli", "main"),
}
LIBRARIES = (
    "flwr.app", "flwr.clientapp", "flwr.serverapp", "torch", "torch._dynamo", "datasets",
    "flwr_datasets.partitioner", "sklearn.datasets", "sklearn.model_selection",
    "flwr.server.superlink.fleet.vce.backend.raybackend",
    "fsl_sage_flwr.client_app", "fsl_sage_flwr.server_app", "fsl_sage_flwr.simulations.run",
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


def stand_ins() -> Path:
    """Return the directory of Flower's commands that fork the prepared process."""
    return _started()[0]


def for_simulations() -> Path:
    """Return the same for what ``simulations/`` starts: a directory with a Python beside them.

    The SuperLink is Flower's: it is asked there whether it listens itself.
    """
    programs = stand_ins() / "simulations"
    if not programs.exists():
        programs.mkdir()
        for name in PROGRAMS:
            (programs / name).symlink_to(stand_ins() / name)
        superlink = programs / "flower-superlink"
        superlink.unlink()
        superlink.symlink_to(Path(sys.executable).parent / superlink.name)
        _write(programs / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return programs


def _write(program: Path, text: str) -> None:
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)


@cache
def _started() -> tuple[Path, subprocess.Popen[bytes]]:
    """Write the programs, and start the process whose forks they are.

    It ends when its input is closed: with this process.
    """
    # A socket's address may have a hundred characters; pytest's directories have more.
    directory = Path(tempfile.mkdtemp())
    address = directory / "socket"
    for name in PROGRAMS:
        _write(directory / name, STAND_IN.format(python=sys.executable, address=str(address)))
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
    return directory, process


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
    shutil.rmtree(Path(listener.getsockname()).parent)


def _become(programs: dict[str, Callable[[], int | None]], connection: socket.socket) -> None:
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
    # What Python knows of the server's is not true of these. By lines: tests read along.
    sys.stdout = open(1, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_die_with, args=[connection], daemon=True).start()
    program = Path(sys.argv[0])
    if program.name == "fsl-sage":  # it looks for Flower's beside its Python
        sys.executable = str(program.parent / "python")
    status = 1
    try:
        status = programs[program.name]() or 0
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
