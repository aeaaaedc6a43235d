"""Compare variants of the training steps of client half and server half.

    python -m benchmarks.arithmetic [--steps N] [--batch-size B] [--only NAME ...] [--device cuda]
    OMP_NUM_THREADS=1 python -m benchmarks.arithmetic --pairs

ResNet-18 for 32×32 images, cut at layer3, with FSL-SAGE's head: a step of the client half with the
head's estimate, then a step of the server half with the same smashed data. The variants alternate
step by step, so that other load on the machine affects them equally; ratios are of medians, to
eager PyTorch's. "Difference" is the largest of the client half's gradients in one step, as a share
of the largest gradient; 0 means the same bits.

``--pairs`` compares two clients' steps on two cores: one after the other with two threads each, in
two processes of one thread, and in two threads of one process.
"""

import argparse
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess

import torch
from torch import Tensor, nn

from fsl_sage_flwr.cpus import usable_cpus
from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.objective import classification
from fsl_sage_flwr.splitting import (
    build_auxiliary,
    client_forward,
    estimated_step,
    server_step,
    set_up_gpu,
    split,
)

OBJECTIVE = classification(10)
CPU = torch.device("cpu")
WARM_UP = 3
BUILDING = threading.Lock()  # to trace a model changes torch's modules for all threads
Batch = tuple[Tensor, Tensor]


class Halves:
    """Client half, head and server half with their optimizers; every one made is the same."""

    def __init__(self, *, fused: bool = False, device: torch.device = CPU) -> None:
        torch.manual_seed(0)
        model = build_model("resnet18", (3, 32, 32), 10)
        images = torch.randn(2, 3, 32, 32)
        halves = split(model, "layer3", images)
        with torch.no_grad():
            smashed = client_forward(halves.client, images, nullcontext)
        head = build_auxiliary(halves.server, smashed, 10)
        self.client: nn.Module = halves.client.train().to(device)
        self.server: nn.Module = halves.server.train().to(device)
        self.head: nn.Module = head.to(device)
        self.on_client, self.on_server = (
            torch.optim.Adam(half.parameters(), lr=1e-3, fused=fused)
            for half in (self.client, self.server)
        )

    def step(
        self, batch: Batch, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> tuple[float, float]:
        """Do a step of either half; return the seconds of each."""
        began = time.perf_counter()
        smashed = estimated_step(self.client, self.head, self.on_client, batch, OBJECTIVE, autocast)
        wait_for(smashed[0])
        between = time.perf_counter()
        server_step(self.server, self.on_server, smashed, batch[1], OBJECTIVE, autocast)
        wait_for(smashed[0])
        return between - began, time.perf_counter() - between

    def gradients(self) -> Tensor:
        """Return the client half's gradients in the last step."""
        found = [p.grad for p in self.client.parameters()]
        return torch.cat([g.flatten() for g in found if g is not None])


def wait_for(tensor: Tensor) -> None:
    """Wait until the tensor's device is idle."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


@contextmanager
def rounded_to_tf32() -> Iterator[None]:
    """Let a GPU round the operands of convolutions and matrix products to TF32."""
    set_up_gpu(torch.device("cuda"), "tf32")
    yield
    set_up_gpu(torch.device("cuda"), "fp32")


@contextmanager
def in_any_order() -> Iterator[None]:
    """Let a GPU choose any algorithm, nondeterministic ones too."""
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def conv_in_bf16() -> Iterator[None]:
    """Let oneDNN round a convolution's operands to bf16, and keep float32 everywhere else."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.conv.fp32_precision = "bf16"  # type: ignore[attr-defined]
    yield
    torch.backends.mkldnn.conv.fp32_precision = "none"  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest")


@contextmanager
def without_onednn() -> Iterator[None]:
    """Use PyTorch's own convolutions."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


@dataclass(frozen=True)
class Variant:
    """Define one variant of the steps."""

    name: str
    only_on: str | None = None
    channels_last: bool = False
    compile: bool = False
    fused: bool = False
    autocast: bool = False
    micro_batch: int | None = None
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    def prepared(self, batch: Batch) -> Callable[[], tuple[float, float]]:
        """Return a step of separate halves."""
        halves, (images, labels) = self.halves(batch[0].device), batch
        context = partial(self.context, images.device.type)
        if self.channels_last:
            images = images.to(memory_format=torch.channels_last)
        size = self.micro_batch or len(images)
        starts = range(0, len(images), size)
        parts = [(images[k : k + size], labels[k : k + size]) for k in starts]

        def step() -> tuple[float, float]:
            with self.around():
                seconds = [halves.step(part, context) for part in parts]
            return sum(s for s, _ in seconds), sum(s for _, s in seconds)

        return step

    def halves(self, device: torch.device) -> Halves:
        """Return the halves as this variant has them."""
        halves = Halves(fused=self.fused, device=device)
        for name in ("client", "server", "head"):
            module: nn.Module = getattr(halves, name)
            if self.channels_last:
                module.to(memory_format=torch.channels_last)
            if self.compile:
                module.compile()
        return halves

    def context(self, device_type: str) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return torch.autocast(device_type, dtype=torch.bfloat16) if self.autocast else nullcontext()


VARIANTS = [
    Variant("eager"),
    Variant("in any order", only_on="cuda", around=in_any_order),
    Variant("fused Adam", fused=True),
    Variant("channels_last", channels_last=True),
    Variant("compile", compile=True),
    Variant("compile, channels_last", compile=True, channels_last=True),
    # A step for each part: only what the caches save is asked for here.
    Variant("batches of 64, four steps", only_on="cpu", micro_batch=64),
    Variant("batches of 32, eight steps", only_on="cpu", micro_batch=32),
    Variant("TF32", only_on="cuda", around=rounded_to_tf32),
    Variant("TF32, channels_last", only_on="cuda", channels_last=True, around=rounded_to_tf32),
    Variant("convolutions in bf16", only_on="cpu", around=conv_in_bf16),
    Variant("autocast to bf16", autocast=True),
    Variant("autocast to bf16, channels_last", autocast=True, channels_last=True),
    Variant("without oneDNN", only_on="cpu", around=without_onednn),
]


def random_batch(size: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(size, 3, 32, 32, generator=generator),
        torch.randint(10, (size,), generator=generator),
    )


def difference(variant: Variant, batch: Batch) -> float:
    """Return the difference of one step from eager PyTorch's."""
    device = batch[0].device
    eager, other = Halves(device=device), variant.halves(device)
    eager.step(batch)
    images = batch[0]
    if variant.channels_last:
        images = images.to(memory_format=torch.channels_last)
    with variant.around():
        other.step((images, batch[1]), partial(variant.context, device.type))
    expected = eager.gradients()
    return float((other.gradients() - expected).abs().max() / expected.abs().max())


def compare_variants(
    names: list[str] | None, steps: int, batch_size: int, device: torch.device
) -> None:
    """Print each variant's times and ratios to eager PyTorch's."""
    set_up_gpu(device, "fp32")
    there = [v for v in VARIANTS if v.only_on in (None, device.type)]
    variants = [v for v in there if names is None or v.name in {"eager", *names}]
    images, labels = random_batch(batch_size)
    batch = images.to(device), labels.to(device)
    prepared = {variant.name: variant.prepared(batch) for variant in variants}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in prepared}
    for k in range(steps + WARM_UP):
        for name, step in prepared.items():
            spent = step()
            if k >= WARM_UP:
                seconds[name].append(spent)
    print(f"{batch_size} images, {device}, {torch.get_num_threads()} threads, {steps} steps")
    medians = {
        name: [statistics.median(part) for part in zip(*spent, strict=True)]
        for name, spent in seconds.items()
    }
    client, server = medians["eager"]
    print(f"{'':34}client's step       server half's       both  difference")
    for variant in variants:
        mine, its = medians[variant.name]
        shown = "-" if variant.micro_batch else f"{difference(variant, batch):.1e}"
        print(
            f"{variant.name:32} {1000 * mine:7.1f} ms {mine / client:5.2f}  "
            f"{1000 * its:7.1f} ms {its / server:5.2f}  {(mine + its) / (client + server):9.2f}  "
            f"{shown}",
            flush=True,
        )


def steps_of_a_client(
    threads: int, steps: int, batch_size: int, meet: Callable[[], object]
) -> None:
    """Do a client's steps between two barriers."""
    torch.set_num_threads(threads)
    with BUILDING:
        halves, batch = Halves(), random_batch(batch_size)
    halves.step(batch)
    meet()
    for _ in range(steps):
        halves.step(batch)
    meet()


def compare_pairs(steps: int, batch_size: int, repeats: int) -> None:
    """Print the seconds that two clients take, for each way to share two cores."""
    cores = usable_cpus()
    spawn = multiprocessing.get_context("spawn")

    def in_turn() -> float:
        torch.set_num_threads(cores)
        halves, batch = [Halves() for _ in range(cores)], random_batch(batch_size)
        for each in halves:
            each.step(batch)
        began = time.perf_counter()
        for each in halves:
            for _ in range(steps):
                each.step(batch)
        return time.perf_counter() - began

    def processes() -> float:
        barrier = spawn.Barrier(cores + 1)
        work = partial(steps_of_a_client, 1, steps, batch_size, barrier.wait)
        return seconds_between(barrier.wait, [spawn.Process(target=work) for _ in range(cores)])

    def threads() -> float:
        barrier = threading.Barrier(cores + 1)
        work = partial(steps_of_a_client, 1, steps, batch_size, barrier.wait)
        return seconds_between(barrier.wait, [threading.Thread(target=work) for _ in range(cores)])

    ways = {
        f"one after the other, {cores} threads": in_turn,
        f"{cores} processes of one thread": processes,
        f"{cores} threads of one process": threads,
    }
    print(f"{cores} clients, {steps} steps of {batch_size} images each, {repeats} times")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(way())
    first = statistics.median(next(iter(seconds.values())))
    for name, spent in seconds.items():
        median = statistics.median(spent)
        print(f"{name:34} {median:6.1f} s  {median / first:.2f}")


def seconds_between(
    meet: Callable[[], object], workers: Sequence[threading.Thread | BaseProcess]
) -> float:
    """Start the workers; return the seconds between their two meetings."""
    for worker in workers:
        worker.start()
    meet()
    began = time.perf_counter()
    meet()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Time ways to do the training steps.")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--only", nargs="+", choices=[v.name for v in VARIANTS])
    parser.add_argument("--device", type=torch.device, default=CPU)
    parser.add_argument("--pairs", action="store_true", help="two clients on two cores")
    parser.add_argument("--repeats", type=int, default=3, help="of --pairs")
    options = parser.parse_args()
    if options.pairs:
        compare_pairs(options.steps, options.batch_size, options.repeats)
    else:
        compare_variants(options.only, options.steps, options.batch_size, options.device)


if __name__ == "__main__":
    main()
