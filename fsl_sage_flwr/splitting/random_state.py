"""Save and restore the state of torch's global generators, on the CPU and on a GPU."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """Saved state of torch's generators.

    Attributes
    ----------
    device : torch.device
        Device of the computation.
    on_cpu : Tensor
        State of the CPU's generator.
    on_gpu : Tensor or None
        State of the device's generator, if it is a GPU.
    """

    device: torch.device
    on_cpu: Tensor
    on_gpu: Tensor | None

    def restore(self) -> None:
        """Set the generators to this state."""
        torch.set_rng_state(self.on_cpu)
        if self.on_gpu is not None:
            torch.cuda.set_rng_state(self.on_gpu, self.device)


def random_state(device: torch.device) -> RandomState:
    """Return the state of the generators that a computation on ``device`` uses."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return RandomState(device, torch.get_rng_state(), on_gpu)
