"""Measure the cost of ``split`` and ``list_cuts`` in training steps of the uncut model.

    python -m benchmarks.cut_cost [bert] [resnet50] [unet] [--steps N]

BERT (6 layers, 384 wide, 128 tokens), ResNet-50 (96×96 images) and a U-Net (128×128 images), with
random weights and batches of two. A step is forward, backward and Adam on the example. Each model
is measured in a new process, in wall time and, less moved by other processes, in CPU time; memory
is the highest above that before the call.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import Cut, list_cuts, split

MODELS = ("bert", "resnet50", "unet")


class Block(nn.Sequential):
    """Two convolutions with BatchNorm."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__(
            nn.Conv2d(ins, outs, 3, padding=1), nn.BatchNorm2d(outs), nn.ReLU(),
            nn.Conv2d(outs, outs, 3, padding=1), nn.BatchNorm2d(outs), nn.ReLU(),
        )  # fmt: skip


class UNet(nn.Module):
    """Three levels, with skips."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([Block(3, width), Block(width, 2 * width)])
        self.middle = Block(2 * width, 4 * width)
        self.up = nn.ModuleList([Block(6 * width, 2 * width), Block(3 * width, width)])
        self.scores = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return a map of scores."""
        skips, hidden = [], images
        for block in self.down:
            hidden = block(hidden)
            skips.append(hidden)
            hidden = nn.functional.max_pool2d(hidden, 2)
        hidden = self.middle(hidden)
        for block in self.up:
            hidden = nn.functional.interpolate(hidden, scale_factor=2)
            hidden = block(torch.cat([hidden, skips.pop()], dim=1))
        scores: Tensor = self.scores(hidden)
        return scores


def subject(name: str) -> tuple[nn.Module, Any, str, tuple[str, ...]]:
    """Return a model, an example, a cut in the middle and the public inputs."""
    torch.manual_seed(0)
    if name == "bert":
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(num_hidden_layers=6, hidden_size=384, num_attention_heads=6,
                            intermediate_size=1536)  # fmt: skip
        ids = torch.randint(1000, 30000, (2, 128))
        example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        example["attention_mask"][1, 100:] = 0
        bert: nn.Module = BertForSequenceClassification(config)
        return bert, example, "bert.encoder.layer.3", ("attention_mask",)
    if name == "resnet50":
        from torchvision.models import resnet50

        return resnet50(), torch.randn(2, 3, 96, 96), "layer3", ()
    return UNet(), torch.randn(2, 3, 128, 128), "middle", ()


def step_of(model: nn.Module, example: Any) -> Callable[[], None]:
    """Return a training step of the uncut model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        out = model(**example) if isinstance(example, Mapping) else model(example)
        scores = out if isinstance(out, Tensor) else out.logits
        torch.autograd.backward(scores.square().mean())
        optimizer.step()

    return step


class Timed(NamedTuple):
    """Seconds of a call, in wall time and in CPU time of the process."""

    wall: float
    cpu: float

    def per(self, step: "Timed") -> str:
        """Return the call's time in steps."""
        return f"{self.wall / step.wall:.1f} steps (CPU {self.cpu / step.cpu:.1f})"


def timed(function: Callable[[], object]) -> Timed:
    """Return the time that a function takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu)


def median(calls: Sequence[Timed]) -> Timed:
    """Return the median of both times."""
    return Timed(*map(statistics.median, zip(*calls, strict=True)))


def peak() -> float:
    """Return the process's highest memory so far in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name: str, steps: int) -> None:
    """Print one model's line."""
    model, example, at, public = subject(name)
    with torch.no_grad():
        model(**example) if isinstance(example, Mapping) else model(example)
    before = peak()
    first = timed(partial(split, model, at, example, public=public))
    memory = peak() - before
    step = step_of(model, example)
    took: dict[str, list[Timed]] = {"step": [], "split": []}
    for _ in range(steps):
        took["step"].append(timed(step))
        took["split"].append(timed(partial(split, model, at, example, public=public)))
    one, again = median(took["step"][1:]), median(took["split"])
    cuts: list[Cut] = []
    listed = timed(lambda: cuts.extend(list_cuts(model, example, public=public)))
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values()) / 2**30
    print(f"{name:9} {size:.2f} GiB  step {one.wall:.2f} s  ", end="")
    print(f"split {again.per(one)} (first {first.per(one)}), +{memory:.2f} GiB  ", end="")
    print(f"list_cuts {listed.per(one)}, {len(cuts)} cuts", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the cost of cutting a model.")
    parser.add_argument("models", nargs="*", default=[], choices=(*MODELS, []))
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    if len(options.models) == 1:
        measure(options.models[0], options.steps)
        return
    for name in options.models or MODELS:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.cut_cost", name, "--steps", str(options.steps)],
            check=True,
        )


if __name__ == "__main__":
    main()
