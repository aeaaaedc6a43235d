"""Measure the seconds to code and decode a MiB of values, and those of training.

    OMP_NUM_THREADS=1 python -m benchmarks.codec_seconds

Each codec codes 4 MiB of float32: normal values after a ReLU, as activations, and normal values,
as differences of weights. The columns ``operations`` are the floating-point operations per value
that a convolution's training step does in the same seconds on the same thread; the virtual clock
converts them to seconds of other devices. Medians.

Then two clients train CSE-FSL on digits with ``compression=strong``: a client's seconds per round
in its codecs, including differences and files, against the clock's on a device of the measured
speed.
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
from flwr.app import UserConfigValue

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.run_time import plan_runs
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.compression.codecs import CODECS
from fsl_sage_flwr.server_app import app as server_app

from .coding import ON_CLIENT, timed

VALUES = 2**20
REPEATS = 7
CLIENTS, ROUNDS = 2, 3
BATCH, CHANNELS, SIDE = 32, 64, 32


def median_seconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def training_speed() -> float:
    """Return floating-point operations per second of a convolution's training step."""
    layer = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    inputs = torch.randn(BATCH, CHANNELS, SIDE, SIDE, requires_grad=True)
    operations = 3 * 2 * 9 * CHANNELS**2 * SIDE**2 * BATCH
    return operations / median_seconds(lambda: layer(inputs).relu().sum().backward())


def side_by_side(speed: float) -> tuple[float, float]:
    """Return a client's seconds of coding in a round, as measured and as the clock counts them."""
    spent = defaultdict[str, float](float)
    with tempfile.TemporaryDirectory() as folder:
        config: dict[str, UserConfigValue] = {
            "algorithm": "cse_fsl",
            "compression": "strong",
            "num-server-rounds": ROUNDS,
            "results-dir": folder,
        }
        with timed(ON_CLIENT, "client", spent):
            run_inline(server_app, client_app, CLIENTS, config)
        (run,) = plan_runs(compare(load_results(folder), target=1.0, mean_of=1))
    operations = sum(float(phase.coding.sum()) for _, phases in run.rounds for phase in phases)
    each = CLIENTS * ROUNDS
    return spent["client"] / each, operations / speed / each


def main() -> None:
    torch.set_num_threads(1)
    speed = training_speed()
    print(f"training: {speed / 1e9:.1f} GFLOP/s\n")
    print("| codec | values | encode, ms a MiB | decode, ms a MiB | encode, operations | decode |")
    print("|---|---|---|---|---|---|")
    normal = torch.randn(64, VALUES // 64)
    for name, codec in CODECS.items():
        for kind, values in (("activations", normal.relu()), ("weights", normal * 1e-3)):
            shape, axes = tuple(values.shape), (0,)
            data = codec.encode(values, axes)
            seconds = (
                median_seconds(partial(codec.encode, values, axes)),
                median_seconds(partial(codec.decode, data, shape, axes)),
            )
            each = " | ".join(f"{1000 * s / (4 * VALUES / 2**20):.1f}" for s in seconds)
            operations = " | ".join(f"{s / VALUES * speed:.0f}" for s in seconds)
            print(f"| `{name}` | {kind} | {each} | {operations} |", flush=True)
    measured, clock = side_by_side(speed)
    print(f"\na client's round: {1000 * measured:.1f} ms, by the clock {1000 * clock:.1f} ms")


if __name__ == "__main__":
    main()
