"""Configure DP-SGD of a client's steps, and refuse modules that do not allow it."""

import math
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import SplitError
from .inputs import as_tensors
from .sample_gradients import DP_SGD
from .sample_mixing import mixes_samples

MISSING = (
    f"{DP_SGD} needs the extra: pip install 'fsl-sage-flwr[privacy]', here and on every client"
)


@dataclass(frozen=True)
class ClientPrivacy:
    """DP-SGD of a client's steps (Abadi et al., CCS 2016, algorithm 1).

    Each sample's gradient, over all modules that a step trains on the client, is scaled down to an
    L2 norm of at most ``clip_norm``; Gaussian noise of ``noise_multiplier * clip_norm`` is added to
    their sum, which is divided by ``batch_size`` and passed to the client's optimizer. The noise
    comes from the operating system: it cannot be repeated from a seed, nor subtracted.

    Attributes
    ----------
    clip_norm : float
        C, above 0.
    noise_multiplier : float
        Standard deviation of the noise in units of ``clip_norm``; 0 only clips.
    batch_size : int
        Divisor of the sum, also for a smaller batch at the end of an epoch: the true size of a
        batch would reveal the presence of a sample.

    Raises
    ------
    ValueError
        A value is out of range.
    """

    clip_norm: float
    noise_multiplier: float
    batch_size: int

    def __post_init__(self) -> None:
        if not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm = {self.clip_norm}: it must be above 0 and finite")
        if not 0 <= self.noise_multiplier < math.inf:
            raise ValueError(
                f"noise_multiplier = {self.noise_multiplier}: it must be at least 0 and finite"
            )
        if self.batch_size < 1:
            raise ValueError(f"batch_size = {self.batch_size}: it must be at least 1")

    def optimizer(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, parts: int = 1
    ) -> torch.optim.Optimizer:
        """Return an optimizer that clips and adds noise before each step of another optimizer.

        Parameters
        ----------
        module : nn.Module
            Module whose trainable parameters are optimized. From now on each training batch
            through it must be followed by a step.
        optimizer : torch.optim.Optimizer
            Takes the steps; the returned optimizer shares its state and learning rates.
        parts : int
            Number of modules that one step trains, each with its optimizer. Each gets
            ``1/sqrt(parts)`` of the clipping norm, and the full noise.

        Raises
        ------
        SplitError
            Opacus is not installed.
        """
        require_opacus()
        from .private_optimizer import PrivateOptimizer

        clip_norm = self.clip_norm / math.sqrt(parts)
        noise_std = self.noise_multiplier * self.clip_norm
        return PrivateOptimizer(module, optimizer, clip_norm, noise_std, self.batch_size)


def require_opacus() -> None:
    """Check that Opacus is installed, without importing it.

    Raises
    ------
    SplitError
        Opacus is missing.
    """
    if find_spec("opacus") is None:
        raise SplitError(MISSING)


def check_private_steps(module: nn.Module, example: tuple[Tensor, ...], what: str) -> None:
    """Refuse a module that DP-SGD cannot train.

    There must be one gradient per sample, and they must add up to the batch's gradient. No buffer
    may take values from a batch: buffers are sent without noise.

    Parameters
    ----------
    module : nn.Module
        Module to check; it is not changed.
    example : tuple of Tensor
        A batch of its inputs, on its device, of at least two samples; floating-point values do
        not matter.
    what : str
        Name of the module, for the message.

    Raises
    ------
    SplitError
        Opacus is not installed; the module mixes the samples of a batch, as BatchNorm does; or
        Opacus cannot compute the per-sample gradients of all its parameters.
    """
    require_opacus()
    if mixes_samples(module, example):
        raise SplitError(
            f"{DP_SGD}: the {what} mixes the samples of a batch, as BatchNorm does, so "
            "per-sample gradients do not exist; choose a model with GroupNorm, or an earlier cut"
        )
    from .private_optimizer import sample_gradients_of

    problem = ""
    with torch.random.fork_rng(devices=[]):
        half = copy_sharing_frozen(module).train()
        buffers = {name: buffer.clone() for name, buffer in half.named_buffers()}
        example = tuple(torch.randn_like(t) if t.is_floating_point() else t for t in example)
        try:
            recorded = sample_gradients_of(half)
            outputs = [t for t in as_tensors(half(*example)) if t.requires_grad]
            torch.autograd.backward(outputs, [torch.randn_like(t) for t in outputs])
            trained = {p: name for name, p in half.named_parameters() if p.requires_grad}
            for parameter in recorded.wrong(trained, len(example[0]))[:1]:
                name = trained[parameter]
                problem = f"the per-sample gradients of {name!r} do not add up to the batch's"
            for name, buffer in half.named_buffers():
                if buffer.is_floating_point() and not torch.equal(buffer, buffers[name]):
                    problem = f"the buffer {name!r} takes values from a batch"
        except (RuntimeError, ValueError, AttributeError, TypeError) as error:
            problem = " ".join(str(error).split())[:200]
    if problem:
        raise SplitError(
            f"{DP_SGD} is not possible for the {what}: {problem}; choose another model or cut, or "
            "disable DP-SGD"
        )
