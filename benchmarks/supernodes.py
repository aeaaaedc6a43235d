"""Measure the number of SuperNodes per SuperLink on this machine, and their idle cost.

    python -m benchmarks.supernodes [--nodes N] [--keep-free GIB] [--isolation process]

SuperNodes are started one after another, until there are N or the machine has less than GIB of
free memory. Their processor time is measured in an idle minute, and the SuperLink is asked for the
number of nodes online.

With ``--isolation process`` a SuperNode starts no SuperExec, as in Docker, where SuperExec has
another container.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil

from tests.e2e.deployment import CONNECTION, Deployment, wait_for

MIB, GIB = 2**20, 2**30
REGISTERED = "SuperNode ID"
QUIET_SECONDS = 60.0


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return a process and its children."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def shared_out_memory(process: subprocess.Popen[bytes]) -> list[float]:
    """Return MiB of a process and of each of its children; a page of several counts in parts."""
    return [one.memory_full_info().pss / MIB for one in family(process)]


def processor_seconds(processes: list[subprocess.Popen[bytes]]) -> float:
    """Return the processor time of processes, their children among them, so far."""
    times = [one.cpu_times() for process in processes for one in family(process)]
    return sum(one.user + one.system for one in times)


def has_registered(deployment: Deployment, node: subprocess.Popen[bytes]) -> bool:
    """Tell whether a SuperNode reports its registration."""
    return REGISTERED in deployment.log_of(node)


def online(deployment: Deployment) -> int:
    """Return how many SuperNodes the SuperLink says are online."""
    said = deployment.flwr("supernode", "list", CONNECTION, "--format", "json")
    nodes = json.loads(said[said.index("{") :])["nodes"]
    return sum(node["status"] == "online" for node in nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--keep-free", type=float, default=6.0, metavar="GIB")
    parser.add_argument("--isolation", choices=("subprocess", "process"), default="subprocess")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        Deployment(
            Path(name), forked=False, link_options=["--database", f"{name}/state.db"]
        ) as deployment,
    ):
        link = deployment.link
        if link is None:
            raise SystemExit("the SuperLink did not start")
        print(f"SuperLink alone: {sum(shared_out_memory(link)):,.0f} MiB", flush=True)
        nodes: list[subprocess.Popen[bytes]] = []
        begun = time.monotonic()
        while len(nodes) < options.nodes:
            left = psutil.virtual_memory().available / GIB
            if left < options.keep_free:
                print(f"stopped at {len(nodes)}: {left:.1f} GiB of memory are left", flush=True)
                break
            node = deployment.start_node(
                len(nodes), options.nodes, options=["--isolation", options.isolation]
            )
            wait_for("its registration", partial(has_registered, deployment, node), 120)
            nodes.append(node)
        seconds = time.monotonic() - begun
        everyone = [link, *nodes]
        before = processor_seconds(everyone)
        of_link = processor_seconds([link])
        time.sleep(QUIET_SECONDS)
        used = (processor_seconds(everyone) - before) / QUIET_SECONDS
        used_by_link = (processor_seconds([link]) - of_link) / QUIET_SECONDS
        known, alive = online(deployment), sum(node.poll() is None for node in nodes)
        each = [shared_out_memory(node) for node in nodes]
        own = statistics.mean(sizes[0] for sizes in each)
        whole = statistics.mean(sum(sizes) for sizes in each)
        database = sum(file.stat().st_size for file in Path(name).glob("state.db*")) / MIB
        print(
            f"{len(nodes)} SuperNodes (--isolation {options.isolation}) registered in "
            f"{seconds:,.0f} s; after {QUIET_SECONDS:g} s {known} online, {alive} processes alive\n"
            f"a SuperNode: {own:,.0f} MiB, with its children {whole:,.0f} MiB (PSS, mean)\n"
            f"SuperLink: {sum(shared_out_memory(link)):,.0f} MiB with its children, "
            f"database {database:.1f} MiB\n"
            f"processors while nothing happens: {used:.2f} in all, {used_by_link:.2f} of it "
            "the SuperLink's",
            flush=True,
        )


if __name__ == "__main__":
    main()
