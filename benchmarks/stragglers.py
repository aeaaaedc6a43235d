"""Measure rounds that close before all replies have arrived.

    python -m benchmarks.stragglers [--algorithms fsl_sage cse_fsl fed_avg] [--seeds 200 201 202]

Ten clients on digits, label shares by Dirichlet with α = 0.3, in this process. A reply takes a
tenth of a second, from two slow clients a second, and one in five replies three times as long;
arithmetic adds to it equally for all. Printed for each share of replies that closes a round:
rounds, excluded clients, and seconds until the test accuracy is first reached.
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from tests.memory_grid import MemoryGrid

CLIENTS, SLOW = 10, (3, 7)
TARGET, MOST_ROUNDS = 0.90, 200


class DelayedGrid(MemoryGrid):
    """Nodes whose answers take their time."""

    def __init__(self, run_config: dict[str, Any], seed: int) -> None:
        super().__init__(app, CLIENTS, run_config=run_config)
        self._due: dict[str, float] = {}
        self._draw = random.Random(seed)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send, and draw how long each answer takes."""
        messages = list(messages)
        ids = list(super().push_messages(messages))
        # Computed above: real clients compute side by side, from when the message is there.
        now = time.monotonic()
        for key, message in zip(ids, messages, strict=True):
            seconds = 1.0 if self.partition[message.metadata.dst_node_id] in SLOW else 0.1
            if self._draw.random() < 0.2:
                seconds *= 3
            self._due[key] = now + (0 if "describe" in message.metadata.message_type else seconds)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies so far."""
        now = time.monotonic()
        return super().pull_messages([key for key in message_ids if self._due.get(key, 0) <= now])


class ReachedError(Exception):
    """The accuracy is there."""


def run(algorithm: str, share: float, seed: int) -> tuple[float, int, int, float]:
    """Return seconds, rounds, how often a client was late, and the accuracy in the end."""
    settings = {
        "algorithm": algorithm,
        "distribution": "noniid_dirichlet",
        "alpha": 0.3,
        "fraction-reply": share,
        "seed": seed,
    }
    config = RunConfig.from_run_config(settings)
    strategy = build_strategy(config, build_task(config))
    batches, late, best, rounds = build_test_batches(config), 0, 0.0, 0
    began = time.monotonic()

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        nonlocal late, best, rounds
        if server_round:
            rounds, late = server_round, late + len(strategy.last_round.failures)
            best = max(best, float(strategy.evaluate(arrays, batches).accuracy or 0))
            if best >= TARGET:
                raise ReachedError

    with suppress(ReachedError):
        strategy.start(
            DelayedGrid(settings, seed),
            strategy.initial_arrays(),
            num_rounds=MOST_ROUNDS,
            evaluate_fn=end_round,
        )
    return time.monotonic() - began, rounds, late, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", nargs="+", default=["fsl_sage", "cse_fsl", "fed_avg"])
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.8, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201, 202])
    given = parser.parse_args()
    for algorithm in given.algorithms:
        for share in given.shares:
            found = [run(algorithm, share, seed) for seed in given.seeds]
            seconds, rounds, late, best = zip(*found, strict=True)
            print(
                f"{algorithm:16} fraction-reply {share:.1f}: {statistics.mean(seconds):6.1f} s "
                f"({min(seconds):.1f} to {max(seconds):.1f}), rounds {rounds}, late {late}, "
                f"best {min(best):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
