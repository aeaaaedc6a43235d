"""Measure the seconds of coding and decoding a MiB of values, and of training beside it.

    OMP_NUM_THREADS=1 python -m benchmarks.codec_seconds

Each codec codes 4 MiB of float32: what a ReLU leaves of normal values, and normal values as
differences of weights. The columns ``operations`` are the floating-point operations that a training
step of a convolution does in the same seconds on the same thread, per value: with them the virtual
clock takes coding to other devices. Medians.
"""

import statistics
import time
from collections.abc import Callable

import torch

from fsl_sage_flwr.compression.codecs import CODECS

VALUES = 2**20
REPEATS = 7
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
                median_seconds(lambda c=codec, v=values, a=axes: c.encode(v, a)),
                median_seconds(lambda c=codec, d=data, s=shape, a=axes: c.decode(d, s, a)),
            )
            each = " | ".join(f"{1000 * s / (4 * VALUES / 2**20):.1f}" for s in seconds)
            operations = " | ".join(f"{s / VALUES * speed:.0f}" for s in seconds)
            print(f"| `{name}` | {kind} | {each} | {operations} |", flush=True)


if __name__ == "__main__":
    main()
