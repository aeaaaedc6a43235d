"""Compare the time of a training step of the split model with that of the uncut model.

    python -m benchmarks.split_overhead [--steps N] [--batch-size B]

ResNet-18 for 32×32 images, cut at layer3, with one Adam per half; the uncut model has one Adam.
The models alternate step by step, so that other load on the machine affects them equally; the
ratio is that of the medians. Traced halves (fx graphs) and replayed ones are both compared with the
uncut model.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.objective import classification
from fsl_sage_flwr.splitting import SplitModel, answer_step, client_forward, client_step, split


class Untraceable(nn.Module):
    """The model behind a branch that depends on data, which a tracer cannot follow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's scores."""
        if not bool(torch.isfinite(images[0, 0, 0, 0])):
            raise ValueError("an image is not finite")
        scores: Tensor = self.model(images)
        return scores


def whole_step(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """Return a training step of the uncut model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(images), labels))
        optimizer.step()

    return step


def split_step(halves: SplitModel) -> Callable[[Tensor, Tensor], None]:
    """Return a training step of the two halves: smashed data out, gradients back."""
    on_client, on_server = (
        torch.optim.Adam(half.parameters(), lr=1e-3) for half in (halves.client, halves.server)
    )

    def step(images: Tensor, labels: Tensor) -> None:
        smashed = client_forward(halves.client, images, nullcontext)
        sent = tuple(tensor.detach() for tensor in smashed)
        _, gradients = answer_step(
            halves.server, on_server, sent, labels, classification(10), nullcontext
        )
        client_step(on_client, smashed, gradients, 1)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the split model's training step.")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build_model("resnet18", (3, 32, 32), 10)
    images = torch.randn(options.batch_size, 3, 32, 32)
    labels = torch.randint(10, (options.batch_size,))
    steps = {
        "uncut": whole_step(copy.deepcopy(model)),
        "graph": split_step(split(copy.deepcopy(model), "layer3", images[:2])),
        "replay": split_step(split(Untraceable(model), "model.layer3", images[:2])),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(options.steps + 3):
        for name, step in steps.items():
            began = time.perf_counter()
            step(images, labels)
            if k >= 3:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{options.batch_size} images, {torch.get_num_threads()} threads, {options.steps} steps")
    for name, median in medians.items():
        print(f"  {name:7} {1000 * median:7.1f} ms  {median / medians['uncut']:.3f} of uncut")


if __name__ == "__main__":
    main()
