"""Disturb a real SuperLink at random, and compare each round with a simulation.

    python -m benchmarks.chaos OUT [--rounds 200] [--minutes M] [--seed 1] [--pause 10]

Six authenticated SuperNodes over TLS train CSE-FSL on digits in short rounds. Processes are killed
and restarted, nodes paused, their networks cut, held and slowed (:mod:`benchmarks.cables`), the
disk filled; clients send malformed replies. The seed draws the faults and their targets; their
times depend on the machine. After the ServerApp's end the run resumes from its checkpoint. At the
end:

- every round must equal the same round of a simulation with the same participants;
- processes, open files, memory and files of Flower are compared with those at the start;
  ``weights.csv`` has them after every round;
- the longest standstill is printed: seconds between two rounds.

It needs root, for a small tmpfs with the results, so that the disk can be filled.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch

from tests.e2e.commands import history_of, run_directory, started_by
from tests.e2e.deployment import CONNECTION, Deployment, wait_for
from tests.e2e.faults import clients_of, environment, faulty_app, simulated_with

from .cables import Cable, Cables

NODES = 6
SAME = ["round", "test_accuracy", "test_loss", "train_loss", "clients"]
MALFORMED = ("raise", "huge", "empty")
OPEN = ("socket", "pipe", "anon_inode")  # as the kernel calls them; all else are files


class Chaos:
    """Draw and inject faults of a deployment.

    Parameters
    ----------
    deployment : Deployment
        With its SuperNodes started.
    nodes : list
        Their processes, by partition id.
    cables : list of Cable
        Their ways to the SuperLink.
    draw : random.Random
        Draws what happens.
    disk : Path
        The tmpfs with the results.
    """

    def __init__(
        self,
        deployment: Deployment,
        nodes: list["subprocess.Popen[bytes]"],
        cables: list[Cable],
        draw: random.Random,
        disk: Path,
    ) -> None:
        self._deployment, self._nodes, self._cables = deployment, nodes, cables
        self._draw, self._disk = draw, disk
        self.happened: list[str] = []

    def strike(self, kinds: list[str]) -> None:
        """Inject one fault."""
        kind = self._draw.choice(kinds)
        who = self._draw.randrange(NODES)
        of_a_node = kind in ("node", "freeze", "cut", "hold", "slow")
        self.happened.append(f"{kind} {who}" if of_a_node else kind)
        print(self.happened[-1], flush=True)
        cable = self._cables[who]
        {
            "client app": lambda: self._kill_one("flwr-clientapp"),
            "server app": lambda: self._kill_one("flwr-serverapp"),
            "node": lambda: self._restart_node(who),
            "freeze": lambda: self._freeze(who),
            "cut": lambda: cable.cut(self._draw.uniform(2, 40)),
            "hold": lambda: cable.hold(self._draw.uniform(2, 40)),
            "slow": lambda: cable.slow(self._draw.uniform(0.05, 1.0), self._draw.uniform(2, 40)),
            "link": self._restart_link,
            "fill": self._fill_disk,
        }[kind]()

    def _kill_one(self, command: str) -> None:
        there = started_by(str(self._deployment.home), command=command)
        if there:
            with suppress(psutil.NoSuchProcess):
                self._draw.choice(there).kill()

    def _restart_node(self, who: int) -> None:
        self._deployment.kill(self._nodes[who])

        def let_in() -> bool:
            """Flower refuses a node's key until it has noticed that the node has gone."""
            node = self._nodes[who] = self._deployment.start_node(
                who, of=NODES, through=self._cables[who].port
            )
            wait_for(
                "an answer to the SuperNode",
                lambda: node.poll() is not None or "SuperNode ID" in self._deployment.log_of(node),
            )
            return node.poll() is None

        wait_for("the SuperNode", let_in, pause=5)

    def _freeze(self, who: int) -> None:
        """Pause a node and its messages' processes."""
        os.killpg(self._nodes[who].pid, signal.SIGSTOP)
        time.sleep(self._draw.uniform(2, 20))
        os.killpg(self._nodes[who].pid, signal.SIGCONT)

    def _restart_link(self) -> None:
        link = self._deployment.link
        if link is not None:
            self._deployment.kill(link)
        self._deployment.start_link()

    def _fill_disk(self) -> None:
        filler = self._disk / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(2**16))
                file.flush()
        time.sleep(10)
        filler.unlink()


def kinds_of_open_files(process: psutil.Process) -> Counter[str]:
    """Count sockets, pipes, files and the kernel's own (epoll, eventfd) that a process has open."""
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            kind = os.readlink(link).partition(":")[0]
            found[kind if kind in OPEN else "file"] += 1
    return found


def weight_of(home: Path) -> dict[str, float]:
    """Return memory and open files of the long-lived processes, and the number of Flower's files.

    Separately for the SuperLink and for all SuperNodes, with the age of the youngest process: a
    process that has just restarted has less memory.
    """
    found: dict[str, float] = {}
    for kind in ("superlink", "supernode"):
        processes = started_by(str(home), command=f"flower-{kind}")
        mebibytes, ages, opened = 0.0, [], Counter[str]()
        for process in processes:
            with suppress(psutil.Error, FileNotFoundError):
                mebibytes += process.memory_info().rss / 2**20
                ages.append(time.time() - process.create_time())
                opened += kinds_of_open_files(process)
        found |= {f"{kind}: processes": len(ages), f"{kind}: seconds old": min(ages, default=0)}
        found |= {f"{kind}: {what} open": opened[what] for what in (*OPEN, "file")}
        found[f"{kind}: MiB"] = mebibytes
    return {**found, "files of Flower": sum(1 for _ in home.rglob("*"))}


def note_weight(file: Path, round_: int, weight: dict[str, float]) -> None:
    """Add a row."""
    row = pd.DataFrame([{"round": round_, **weight}]).round(1)
    row.to_csv(file, mode="a", header=not file.exists(), index=False)


@contextmanager
def tmpfs(path: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a small file system."""
    path.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def rounds_in(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0


def drawn_faults(draw: random.Random, rounds: int) -> dict[int, dict[int, str]]:
    """Let every tenth round have a client with a malformed reply."""
    faults: dict[int, dict[int, str]] = {}
    for round_ in range(1, rounds + 1):
        if draw.random() < 0.1:
            faults.setdefault(draw.randrange(NODES), {})[round_] = draw.choice(MALFORMED)
    return faults


def absent(run: Path, rounds: int) -> dict[int, dict[int, str]]:
    """Return the absent clients of each round, as faults of a simulation."""
    rows = clients_of(run).reset_index()
    good = rows[rows["failure"] == ""]
    took_part = set(zip(good["round"].tolist(), good["client"].tolist(), strict=True))
    return {
        client: {
            round_: "raise"
            for round_ in range(1, rounds + 1)
            if (round_, client) not in took_part
        }
        for client in range(NODES)
    }  # fmt: skip


def same_as_simulated(run: Path, config: dict[str, Any], directory: Path) -> pd.DataFrame:
    """Return the rounds that differ from a simulation with the same participants."""
    torch.set_num_threads(1)  # as the deployment's processes have: sums depend on it
    ours = history_of(run)
    here = {**config, "results-dir": str(directory / "simulated"), "num-server-rounds": len(ours)}
    with pytest.MonkeyPatch.context() as patch:
        simulated_with(absent(run, len(ours)), NODES, here, patch)
    theirs = history_of(run_directory(directory / "simulated"))
    return ours[SAME][~(ours[SAME].eq(theirs[SAME]) | ours[SAME].isna()).all(axis=1)]


def chaos(
    out: Path, rounds: int, minutes: float, seed: int, pause: float, kinds: list[str]
) -> bool:
    """Run the deployment; return whether every round equals the simulation's."""
    end = time.monotonic() + 60 * minutes
    draw = random.Random(seed)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config: dict[str, Any] = {
        "algorithm": "cse_fsl", "num-server-rounds": rounds, "batch-size": 180,
        "round-timeout": 90.0, "keep-optimizer-state": False, "max-client-failures": 0,
        "results-dir": str(out / "disk" / "results"), "run-name": "chaos",
    }  # fmt: skip
    told = environment(drawn_faults(draw, rounds), out)
    link = ["--database", str(out / "state.db")]
    with (
        tmpfs(out / "disk", 64) as disk,
        Deployment(
            out / "flower", secure=True, environment=told, link_options=link, keys=NODES
        ) as deployment,
    ):
        cables = Cables(NODES, deployment.port).all
        nodes = [
            deployment.start_node(partition, of=NODES, through=cables[partition].port)
            for partition in range(NODES)
        ]
        app = faulty_app(out)
        results, trouble = Path(config["results-dir"]), Chaos(deployment, nodes, cables, draw, disk)

        def start() -> int:
            latest = list(results.rglob("latest.pt"))
            more = {"resume": str(latest[0])} if latest else {}
            words = {k.replace("-", "_"): v for k, v in {**config, **more}.items()}
            return deployment.run(app, **words)

        run, resumed = start(), 0
        wait_for("the first round", lambda: rounds_in(results) >= 1)
        before, done, moved, standstill = weight_of(deployment.home), 1, time.monotonic(), 0.0
        due = time.monotonic() + pause
        while time.monotonic() < end:
            if rounds_in(results) > done:
                standstill = max(standstill, time.monotonic() - moved)
                done, moved = rounds_in(results), time.monotonic()
                print(
                    f"round {done}; {len(trouble.happened)} troubles, {resumed} resumed", flush=True
                )
                note_weight(out / "weights.csv", done, weight_of(deployment.home))
            if not started_by(str(deployment.home), command="flwr-serverapp"):
                if _end_of(deployment, run) == "finished:completed":
                    break
                run, resumed = start(), resumed + 1
                wait_for("the ServerApp", _serves(deployment))
            if time.monotonic() > due and done < rounds - 2:
                trouble.strike(kinds)
                due = time.monotonic() + draw.uniform(0.5, 1.5) * pause
            time.sleep(0.5)
        after = weight_of(deployment.home)
        shutil.copytree(results, out / "results", dirs_exist_ok=True)
    different = same_as_simulated(run_directory(out / "results"), config, out)
    summary = {
        "rounds": rounds_in(out / "results"),
        "troubles": {
            kind: sum(what.startswith(kind) for what in trouble.happened) for kind in kinds
        },
        "resumed": resumed,
        "longest standstill, seconds": round(standstill, 1),
        "before": before,
        "after": after,
        "rounds that differ from a simulation": different["round"].tolist(),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))
    return different.empty


def _end_of(deployment: Deployment, run: int) -> str:
    """Return the status of a run after its ServerApp's end.

    Flower needs one to three minutes to notice a killed ServerApp; an operator would not wait.
    """

    def ended() -> str:
        with suppress(RuntimeError):  # the SuperLink is starting
            status = deployment.status(run)
            return status if status.startswith("finished") else ""
        return ""

    with suppress(TimeoutError):
        return str(wait_for("its end", ended, seconds=10, pause=2))
    with suppress(RuntimeError):
        deployment.flwr("stop", str(run), CONNECTION)
    return str(wait_for("its end", ended, pause=2))


def _serves(deployment: Deployment) -> Callable[[], bool]:
    return lambda: bool(started_by(str(deployment.home), command="flwr-serverapp"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after M minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between two faults")
    kinds = ["client app", "server app", "node", "freeze", "cut", "hold", "slow", "link", "fill"]
    parser.add_argument("--without", nargs="*", default=[], choices=kinds)
    given = parser.parse_args()
    kinds = [kind for kind in kinds if kind not in given.without]
    if not chaos(given.out.absolute(), given.rounds, given.minutes, given.seed, given.pause, kinds):
        raise SystemExit("a round is not what it would have been")


if __name__ == "__main__":
    main()
