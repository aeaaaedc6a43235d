"""Whether what a client's work leaves behind is still of use: finite, and not without bounds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..objective import logits_of
from ..splitting import as_tensors, copied, evaluate, trained_state
from ..task import SplitTask

# The square of what is larger is not finite in float32: a step or two later nothing would be.
LARGEST = 1e18

ON_EXAMPLE = "on an example, which is no client's"


class Soundness:
    """Tries halves on one sample that no client has made.

    A client's data may leave a half with weights that are finite but so large that every other
    client's loss is not: whoever came next would be blamed. The sample tells whose work it was.

    Parameters
    ----------
    task : SplitTask
        Has the halves, an example of the inputs, and the objective.
    """

    def __init__(self, task: SplitTask) -> None:
        self._task = task
        self._copies: dict[int, nn.Module] = {}

    def problem_with_server_half(
        self, half: nn.Module, optimizer: torch.optim.Optimizer
    ) -> str | None:
        """Return what is not finite of a server half that a client's batches have trained.

        Its weights and its loss on the example, in eval mode, are to be below ``LARGEST``, and
        its optimizer's state finite.
        """
        largest = _largest(trained_state(half).values())
        if not largest <= LARGEST:
            return f"after its batches the server half has a weight of {largest:.2g}"
        if not math.isfinite(_largest(_tensors_in(optimizer.state))):
            return "after its batches the server half's optimizer has values that are not finite"
        batch = self._smashed, self._labels
        with torch.random.fork_rng(devices=[]):
            found = evaluate([half], [batch], self._task.objective, self._task.autocast)
        if not found.loss <= LARGEST:
            return f"after its batches the server half's loss is {found.loss:.2g} {ON_EXAMPLE}"
        return None

    def problem_with_trained(
        self, parts: Sequence[tuple[nn.Module, Mapping[str, Tensor]]]
    ) -> str | None:
        """Return what is not finite of parts that a client has trained, one after the other.

        Parameters
        ----------
        parts : sequence of (nn.Module, Mapping)
            The client half, what its smashed data go through, and the values that the client
            sent of each. The modules are left as they are.
        """
        output: Any = self._inputs
        with torch.no_grad(), torch.random.fork_rng(devices=[]), self._task.autocast():
            for part, weights in parts:
                trained = self._copy_of(part)
                self._task.load_weights(trained, weights)
                output = trained(*as_tensors(output))
        # Whatever form a whole model's output has; smashed data are tensors.
        ends = output if isinstance(output, tuple) else (logits_of(output),)
        largest = _largest(ends)
        if not largest <= LARGEST:
            return f"the weights that it sent give a value of {largest:.2g} {ON_EXAMPLE}"
        return None

    def _copy_of(self, part: nn.Module) -> nn.Module:
        """Return a copy that is made only once: a round may have a thousand clients."""
        if id(part) not in self._copies:
            self._copies[id(part)] = copied(part).eval()
        return self._copies[id(part)]

    @cached_property
    def _inputs(self) -> tuple[Tensor, ...]:
        return tuple(t[:1].to(self._task.device) for t in as_tensors(self._task.example))

    @cached_property
    def _smashed(self) -> tuple[Tensor, ...]:
        """Smashed data of the example; where they are all zero a wrecked half would not show."""
        draw = torch.Generator().manual_seed(0)
        return self._task.to_device(
            tuple(
                t[:1] + torch.randn(t[:1].shape, generator=draw).to(t.dtype)
                if t.is_floating_point()
                else t[:1]
                for t in self._task.smashed_example()
            )
        )

    @cached_property
    def _labels(self) -> Tensor:
        return self._task.objective.example_labels(len(self._smashed[0])).to(self._task.device)


def _tensors_in(state: Mapping[Any, Mapping[str, Any]]) -> list[Tensor]:
    """Return an optimizer's tensors, without its counts of steps, which stay on the CPU."""
    found = [value for values in state.values() for value in values.values()]
    return [value for value in found if isinstance(value, Tensor) and value.dim() > 0]


def _largest(tensors: Iterable[Tensor]) -> float:
    """Return the largest absolute value; NaN if there is one."""
    each = [
        torch.stack(torch.aminmax(tensor.detach())).float()  # several times as fast as a norm
        for tensor in tensors
        if tensor.is_floating_point() and tensor.numel()
    ]
    return torch.cat(each).abs().max().item() if each else 0.0
