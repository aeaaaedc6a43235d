"""The state of torch's global generators: the CPU's, and that of the GPU that computes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """What :func:`random_state` found.

    Attributes
    ----------
    device : torch.device
        Where the computation is that draws.
    on_cpu : Tensor
        State of the CPU's generator.
    on_gpu : Tensor or None
        State of the device's, if it is a GPU.
    """

    device: torch.device
    on_cpu: Tensor
    on_gpu: Tensor | None

    def restore(self) -> None:
        """Let the generators go on from here."""
        torch.set_rng_state(self.on_cpu)
        if self.on_gpu is not None:
            torch.cuda.set_rng_state(self.on_gpu, self.device)


def random_state(device: torch.device) -> RandomState:
    """Return the state of what a computation on a device draws its random numbers from."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return RandomState(device, torch.get_rng_state(), on_gpu)
