"""Optimize with clipped and noised per-sample gradients, computed by Opacus.

Imports Opacus, an optional dependency; other modules import :class:`ClientPrivacy` instead.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import SplitError
from .sample_gradients import DP_SGD, RECORD, forget_sample_gradients
from .smashed_noise import unpredictable_normal

StepPreHook = Callable[[torch.optim.Optimizer, Any, Any], None]

# torch's warning for each module whose inputs need no gradient; a client half's never do.
warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients")


class _ContiguousHooks(GradSampleHooks):  # type: ignore[misc]  # Opacus has no types
    """Opacus's hooks, for inputs of any memory format.

    Opacus 1.6's ``unfold2d`` takes wrong patches from a ``channels_last`` input, the format of
    images read from files; the gradients of every convolution would then be wrong.
    """

    def capture_activations_hook(
        self, module: nn.Module, forward_input: tuple[Tensor, ...], _forward_output: Tensor
    ) -> None:
        """Record the module's inputs as contiguous tensors."""
        contiguous = [tensor.contiguous() for tensor in forward_input]
        super().capture_activations_hook(module, contiguous, _forward_output)


class SampleGradients:
    """Opacus's hooks in a module: after a backward pass every parameter has ``grad_sample``.

    Parameters
    ----------
    module : nn.Module
        Runs all its batches through the hooks until :meth:`remove`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        # The loss is a batch mean; with "mean" Opacus multiplies by the batch size.
        self._hooks = _ContiguousHooks(module, loss_reduction="mean")

    def remove(self) -> None:
        """Remove the hooks and all recorded tensors, also of passes without a backward pass."""
        self._hooks.cleanup()
        for part in self._module.modules():
            for name in ("activations", "max_batch_len"):
                part.__dict__.pop(name, None)

    @staticmethod
    def wrong(
        parameters: Iterable[nn.Parameter], samples: int, tolerance: float = 1e-3
    ) -> list[nn.Parameter]:
        """Return the parameters whose per-sample gradients do not sum to the last batch's gradient.

        ``tolerance`` is a fraction of the samples' mean norm. Norms below a thousandth of the
        largest parameter's count as that much: a bias that has no effect, such as that of an
        attention's keys, has a gradient of rounding errors alone.
        """
        found, norms = [], dict[int, float]()
        parameters = list(parameters)
        for k, parameter in enumerate(parameters):
            each = parameter.grad_sample  # type: ignore[attr-defined]
            if each is not None and parameter.grad is not None and len(each) == samples:
                norms[k] = float(each.flatten(1).norm(dim=1).mean())
        smallest = max(norms.values(), default=0.0) / 1000
        for k, parameter in enumerate(parameters):
            if k in norms:
                each = parameter.grad_sample  # type: ignore[attr-defined]
                difference = float((each.mean(dim=0) - parameter.grad).norm())
                if not difference > tolerance * max(norms[k], smallest):
                    continue
            found.append(parameter)
        return found


def sample_gradients_of(module: nn.Module) -> SampleGradients:
    """Record per-sample gradients in a module, and discard earlier records."""
    forget_sample_gradients(module)
    recorded = module.__dict__[RECORD] = SampleGradients(module)
    return recorded


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus has no types
    """Clips each sample's gradient, adds noise to their sum, and takes the step.

    Parameters
    ----------
    module : nn.Module
        Module whose trainable parameters are optimized.
    optimizer : torch.optim.Optimizer
        Takes the steps.
    clip_norm : float
        Largest norm of a sample's gradient.
    noise_std : float
        Standard deviation of the noise on the sum.
    batch_size : int
        Divisor of the sum.

    Raises
    ------
    SplitError
        In the first step: Opacus's per-sample gradients do not sum to the batch's.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_norm: float,
        noise_std: float,
        batch_size: int,
    ) -> None:
        sample_gradients_of(module)
        super().__init__(
            optimizer,
            noise_multiplier=noise_std / clip_norm,
            max_grad_norm=clip_norm,
            expected_batch_size=batch_size,
        )
        self._deviation = noise_std
        self._is_checked = False

    def add_noise(self) -> None:
        """Add noise from the operating system; the states of torch's generator can be guessed."""
        for parameter in self.params:
            total = parameter.summed_grad
            if self._deviation:
                noise = unpredictable_normal(total.numel()).view(total.shape)
                total = total + self._deviation * noise.to(total)
            parameter.grad = total.view_as(parameter)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clip, add noise, step; then discard the records of the batch."""
        if not self._is_checked:
            self._check()
        value: float | None = super().step(closure)
        self.zero_grad(set_to_none=True)
        return value

    def register_step_pre_hook(self, hook: StepPreHook) -> RemovableHandle:
        """Run a hook after clipping and noise: what it adds to a gradient gets neither."""
        handle: RemovableHandle = self.original_optimizer.register_step_pre_hook(hook)
        return handle

    def _check(self) -> None:
        """Compare with autograd's gradients on the first real batch of a round."""
        samples = len(self.grad_samples[0])
        # bfloat16 steps differ by half a hundredth; wrong gradients by their whole size.
        for parameter in SampleGradients.wrong(self.params, samples, tolerance=0.02):
            raise SplitError(
                f"{DP_SGD}: Opacus's per-sample gradients of a parameter of shape "
                f"{tuple(parameter.shape)} do not add up to the batch's; choose another model "
                "or cut, or disable DP-SGD"
            )
        self._is_checked = True
