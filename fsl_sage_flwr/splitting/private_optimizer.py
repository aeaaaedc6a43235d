"""An optimizer of clipped and noised per-sample gradients, which Opacus computes.

Imports Opacus, an optional dependency; :class:`ClientPrivacy` is what others import.
"""

import warnings
from collections.abc import Callable

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from .errors import SplitError
from .private_steps import DP_SGD, RECORD, forget_sample_gradients
from .smashed_noise import unpredictable_normal

# torch's remark on every module whose inputs need no gradient, as a client half's never do.
warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients")


class _ContiguousHooks(GradSampleHooks):  # type: ignore[misc]  # Opacus has no types
    """Opacus's hooks, for inputs of any memory format.

    ``unfold2d`` of Opacus 1.6 gives wrong patches of a ``channels_last`` input, which images read
    from files are, and with them wrong gradients of every convolution.
    """

    def capture_activations_hook(
        self, module: nn.Module, forward_input: tuple[Tensor, ...], _forward_output: Tensor
    ) -> None:
        """Keep what the module was given, contiguous."""
        contiguous = [tensor.contiguous() for tensor in forward_input]
        super().capture_activations_hook(module, contiguous, _forward_output)


class SampleGradients:
    """Opacus's hooks in a module: after a backward pass every parameter has ``grad_sample``.

    Parameters
    ----------
    module : nn.Module
        Runs its batches through the hooks from now on.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        # Gradients are of a batch's mean loss; "mean" takes them times the batch's size.
        self._hooks = _ContiguousHooks(module, loss_reduction="mean")

    def remove(self) -> None:
        """Remove the hooks and all they kept, also of passes that had no backward pass."""
        self._hooks.cleanup()
        for part in self._module.modules():
            for name in ("activations", "max_batch_len"):
                part.__dict__.pop(name, None)

    @staticmethod
    def adds_up(parameter: nn.Parameter, samples: int, tolerance: float = 1e-3) -> bool:
        """Tell whether the last batch has a gradient for each sample, and they are its own.

        ``tolerance`` is a share of the samples' mean norm.
        """
        each, whole = parameter.grad_sample, parameter.grad  # type: ignore[attr-defined]
        if each is None or whole is None or len(each) != samples:
            return False
        difference = (each.mean(dim=0) - whole).norm()
        return not bool(difference > tolerance * each.flatten(1).norm(dim=1).mean())


def sample_gradients_of(module: nn.Module) -> SampleGradients:
    """Record the gradients of single samples in a module, and forget those of before."""
    forget_sample_gradients(module)
    recorded = module.__dict__[RECORD] = SampleGradients(module)
    return recorded


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus has no types
    """Clips each sample's gradient, adds noise to their sum, and takes the step.

    Parameters
    ----------
    module : nn.Module
        Whose trained parameters the optimizer has.
    optimizer : torch.optim.Optimizer
        Takes the steps.
    clip_norm : float
        Largest norm of a sample's gradient.
    deviation : float
        Of the noise on the sum.
    batch_size : int
        What the sum is divided by.

    Raises
    ------
    SplitError
        By the first step: Opacus's gradients of single samples are not the batch's.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_norm: float,
        deviation: float,
        batch_size: int,
    ) -> None:
        sample_gradients_of(module)
        super().__init__(
            optimizer,
            noise_multiplier=deviation / clip_norm,
            max_grad_norm=clip_norm,
            expected_batch_size=batch_size,
        )
        self._deviation = deviation
        self._is_checked = False

    def add_noise(self) -> None:
        """Add noise whose source an attacker cannot try out, unlike torch's generator."""
        for parameter in self.params:
            total = parameter.summed_grad
            if self._deviation:
                noise = unpredictable_normal(total.numel()).view(total.shape)
                total = total + self._deviation * noise.to(total)
            parameter.grad = total.view_as(parameter)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clip, add noise, step; what was recorded of the batch is gone afterwards."""
        if not self._is_checked:
            self._check()
        value: float | None = super().step(closure)
        self.zero_grad(set_to_none=True)
        return value

    def _check(self) -> None:
        """Compare with autograd's gradients of the batches that really come, once a round."""
        samples = len(self.grad_samples[0])
        for parameter in self.params:
            # Steps may be bfloat16's, half a hundredth off; wrong gradients miss by all of it.
            if not SampleGradients.adds_up(parameter, samples, tolerance=0.02):
                raise SplitError(
                    f"{DP_SGD}: Opacus's gradients of single samples, of a parameter of shape "
                    f"{tuple(parameter.shape)}, do not add up to the batch's; choose another model "
                    "or cut, or do without"
                )
        self._is_checked = True
