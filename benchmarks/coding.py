"""Measure seconds and bytes of coding, for each algorithm.

    OMP_NUM_THREADS=1 python -m benchmarks.coding --dataset DIR [--compression strong] [--rounds N]

One of ten clients that share the dataset trains in this process, ResNet-18 cut at layer3, batches
of 256, q = 5: once uncoded and once coded, with the same seed. The rounds after the first are
counted, without evaluation. Seconds of coding are those within the functions that code and decode,
as a share of those of the client's handler, or of the server's strategy, in the coded run.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_strategy, build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.compression.client import ClientCompression
from fsl_sage_flwr.compression.server import DeltaSync, ReplyDecoder, RequestEncoder
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid

CLIENTS = 10
# Where the time of coding is spent, on either side.
ON_CLIENT = [(ClientCompression, "decode"), (ClientCompression, "encode")]
ON_SERVER = [
    (DeltaSync, "send"),
    (RequestEncoder, "encode_gradients"),
    (ReplyDecoder, "decode_weights"),
    (ReplyDecoder, "decode_smashed"),
]


@dataclass(frozen=True)
class Cost:
    """Means of a round."""

    client_seconds: float
    client_coding: float
    server_seconds: float
    server_coding: float
    megabytes: float


@contextmanager
def timed(places: list[tuple[Any, str]], side: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds spent in some functions."""
    before = [getattr(owner, name) for owner, name in places]

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[side] += time.perf_counter() - began

        return call

    for (owner, name), function in zip(places, before, strict=True):
        setattr(owner, name, around(function))
    try:
        yield
    finally:
        for (owner, name), function in zip(places, before, strict=True):
            setattr(owner, name, function)


def measure(algorithm: str, compression: str, dataset: str, rounds: int) -> Cost:
    """Train one client; return the means of the rounds after the first."""
    values = {
        "algorithm": algorithm,
        "model": "resnet18",
        "dataset": dataset,
        "batch-size": 256,
        "server-update-interval": 5,
        "align.interval": 10,
        "align.epochs": 1,
        "heron.perturbations": 1,
        "compression": compression,
    }
    config = RunConfig.from_run_config(values)
    strategy = build_strategy(config, build_task(config))
    strategy.registry.registration_timeout = 0.0  # the other clients never register
    spent = defaultdict[str, float](float)

    class TimedGrid(InlineGrid):
        def run_client(self, message: Message) -> Message:
            began = time.perf_counter()
            reply = super().run_client(message)
            spent["client"] += time.perf_counter() - began
            return reply

    sent, began = 0, 0.0

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        nonlocal sent, began
        if server_round == 1:
            spent.clear()
            sent, began = strategy.ledger.total, time.perf_counter()

    task = build_task(config)
    grid = TimedGrid(build_client_app(lambda context: task), CLIENTS, nodes=1)
    with timed(ON_CLIENT, "client coding", spent), timed(ON_SERVER, "server coding", spent):
        strategy.start(
            grid, strategy.initial_arrays(), num_rounds=rounds + 1, evaluate_fn=each_round
        )
    whole = time.perf_counter() - began
    return Cost(
        spent["client"] / rounds,
        spent["client coding"] / rounds,
        (whole - spent["client"]) / rounds,
        spent["server coding"] / rounds,
        (strategy.ledger.total - sent) / rounds / 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", required=True, help="a local copy of CIFAR-10")
    parser.add_argument("--compression", default="strong")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--algorithm", nargs="*", default=list(ALGORITHMS))
    options = parser.parse_args()
    for algorithm in options.algorithm:
        plain = measure(algorithm, "none", options.dataset, options.rounds)
        coded = measure(algorithm, options.compression, options.dataset, options.rounds)
        print(
            f"{algorithm}: client {plain.client_seconds:.2f} s, coded {coded.client_seconds:.2f} s "
            f"(coding {coded.client_coding / coded.client_seconds:.1%}); server "
            f"{plain.server_seconds:.2f} s, coded {coded.server_seconds:.2f} s "
            f"(coding {coded.server_coding / coded.server_seconds:.1%}); "
            f"{plain.megabytes:.2f} MB a client and round, coded {coded.megabytes:.2f} "
            f"({plain.megabytes / coded.megabytes:.1f} times fewer)",
            flush=True,
        )


if __name__ == "__main__":
    main()
