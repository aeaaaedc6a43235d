"""Find an existing Ray cluster and the resources of its nodes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ..app.config import ConfigError
from .federation import Federation
from .process_environment import with_utf8

# Read by Ray itself, in the process of Flower's simulation.
VARIABLE = "RAY_ADDRESS"
# Ray's value for starting Ray on this machine.
LOCAL = "local"
LISTENS_WITHIN, ANSWERS_WITHIN = 1.0, 60.0

Node = Mapping[str, float]


def cluster_address(given: str) -> str | None:
    """Return the address of an existing cluster, or None for Ray on this machine.

    Parameters
    ----------
    given : str
        ``HOST:PORT``, ``local`` or empty.

    Raises
    ------
    ConfigError
        The address is none of these.
    """
    if given in ("", LOCAL):
        return None
    host, colon, port = given.rpartition(":")
    if "/" in given or not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
        raise ConfigError(
            f"Ray address {given!r}: give HOST:PORT as `ray start --head` prints it, e.g. "
            f"192.0.2.1:6379, or {LOCAL} to start Ray here (--ray-address, or {VARIABLE})"
        )
    return given


def nodes_of(address: str) -> list[Node]:
    """Return the resources of each node of a cluster, by Ray's names: ``CPU``, ``GPU``, ….

    Raises
    ------
    ConfigError
        Nothing listens at the address (known within a second), or it is not a Ray cluster that this
        machine belongs to, with the same versions of Ray and Python.
    """
    _refuse_closed_port(address)
    command = [sys.executable, "-m", "fsl_sage_flwr.simulations.ray_nodes", address]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", check=False,
            timeout=ANSWERS_WITHIN, env=with_utf8({**os.environ, VARIABLE: address}),
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"Ray address {address!r}: no Ray cluster answered within {ANSWERS_WITHIN:g} s; give "
            "the --port of `ray start --head`, 6379 by default"
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"Ray address {address!r}: Ray says: {last}")
    return list(json.loads(done.stdout))


def refuse_if_no_client_fits(federation: Federation, nodes: Sequence[Node]) -> None:
    """Refuse a client's share that exceeds every node: a client cannot be on two nodes.

    Raises
    ------
    ConfigError
        The share fits on no node.
    """
    cpus, gpus = federation.cpus_per_client, federation.gpus_per_client
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        return
    there = ", ".join(
        f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes
    )
    raise ConfigError(
        f"--cpus-per-client {cpus} --gpus-per-client {gpus:g}: no machine of the Ray cluster at "
        f"{federation.ray_address} has as much ({there}); give less"
    )


def _refuse_closed_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), LISTENS_WITHIN).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise ConfigError(
            f"Ray address {address!r}: nothing listens there ({reason}); start the cluster, or "
            f"give --ray-address {LOCAL} to start Ray on this machine"
        ) from error
