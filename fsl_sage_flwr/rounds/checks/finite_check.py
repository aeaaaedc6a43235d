"""Check that a client's work leaves finite weights of bounded size."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...messages.records import LARGEST
from ...objective import logits_of
from ...splitting import as_tensors, copy_sharing_frozen, evaluate, tail_of, trainable_state
from ...splitting.sample_mixing import BATCH_NORMS
from ...task import SplitTask

NOT_NEGATIVE = ("running_var", "num_batches_tracked")

ON_EXAMPLE = "on an example, which is no client's"


class FiniteCheck:
    """Tests halves on samples that are not a client's.

    A client's data may leave a half with weights that are finite but so large that every other
    client's loss is not, and the next client would be blamed. The samples show the culprit.

    Parameters
    ----------
    task : SplitTask
        Provides the halves, an example of the inputs, and the objective.
    """

    def __init__(self, task: SplitTask) -> None:
        self._task = task
        self._copies: dict[int, nn.Module] = {}

    def problem_with_server_half(
        self, half: nn.Module, optimizer: torch.optim.Optimizer
    ) -> str | None:
        """Return what is not finite in a server half after steps on a client's batches.

        Its weights and its loss on the example, in eval mode, must be below ``LARGEST``, and its
        optimizer's state finite. For a half before a tail the bound is on its output.
        """
        largest = _largest(trainable_state(half).values())
        if not largest <= LARGEST:
            return f"after its batches the server half has a weight of {largest:.2g}"
        if not math.isfinite(_largest(_tensors_in(optimizer.state))):
            return "after its batches the server half's optimizer has values that are not finite"
        if self._task.model.tail is not None:
            largest = self._largest_hidden(half)
            if not largest <= LARGEST:
                return f"after its batches the server half gives {largest:.2g} {ON_EXAMPLE}"
            return None
        batch = self._smashed, self._labels
        with torch.random.fork_rng(devices=[]):
            found = evaluate([half], [batch], self._task.objective, self._task.autocast)
        if not found.loss <= LARGEST:
            return f"after its batches the server half's loss is {found.loss:.2g} {ON_EXAMPLE}"
        return None

    def problem_with_hidden(self, hidden: Sequence[Tensor]) -> str | None:
        """Return the problem with what a server half makes of a client's batch."""
        largest = _largest(hidden)
        return None if largest <= LARGEST else f"the server half gives {largest:.2g} on a batch"

    def _largest_hidden(self, half: nn.Module) -> float:
        """Return the largest value that a half makes of the example, in eval mode."""
        half.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), self._task.autocast():
            hidden = as_tensors(half(*self._smashed))
        half.train()
        return _largest(hidden)

    def problem_with_trained(
        self, parts: Sequence[tuple[nn.Module, Mapping[str, Tensor]]]
    ) -> str | None:
        """Return the problem with weights that clients have trained, after "the weights …".

        Every value must be at most ``LARGEST``, and no variance or count of BatchNorm below 0.
        Outputs for random inputs, in eval and in training mode, must be within the same bound,
        and so must BatchNorm's statistics of these inputs: otherwise the next client's work would
        be refused for what this one sent.

        Parameters
        ----------
        parts : sequence of (nn.Module, Mapping)
            The client half, the modules behind it, and the values of each. The modules do not
            change.
        """
        for part, weights in parts:
            problem = _problem_with_values(weights, self._task.weights_of(part))
            if problem is not None:
                return f"have {problem}"
        copies = []
        for part, weights in parts:
            copies.append(self._copy_of(part))
            self._task.load_weights(copies[-1], weights)
        for mode, training in (("eval", False), ("training", True)):
            largest = self._largest_in_pass(copies, training=training)
            if not largest <= LARGEST:
                return f"give a value of {largest:.2g} for random inputs, in {mode} mode"
        return None

    def _largest_in_pass(self, parts: Sequence[nn.Module], *, training: bool) -> float:
        """Return the largest value of the output and of the buffers that the pass changes."""
        output: Any = self._inputs
        found: list[Tensor] = []
        with torch.no_grad(), torch.random.fork_rng(devices=[]), self._task.autocast():
            self._task.reseed("soundness")
            for part in parts:
                buffers = {name: buffer.clone() for name, buffer in part.named_buffers()}
                state = {**dict(part.named_parameters()), **buffers}
                output = functional_call(part.train(training), state, as_tensors(output))
                found += [
                    buffers[name]
                    for name, before in part.named_buffers()
                    if not torch.equal(before, buffers[name])
                ]
            for tail in filter(None, map(tail_of, parts)):
                buffers = {name: buffer.clone() for name, buffer in tail.named_buffers()}
                state = {**dict(tail.named_parameters()), **buffers}
                scores = logits_of(
                    self._task.objective.read(functional_call(tail, state, self._hidden))
                )
                found.append(scores)
        # A whole model's output may have any form; smashed data are tensors.
        ends = output if isinstance(output, tuple) else (logits_of(output),)
        return _largest([*found, *(end for end in ends if isinstance(end, Tensor))])

    def _copy_of(self, part: nn.Module) -> nn.Module:
        """Return a copy that is made once: a round may have a thousand clients."""
        if id(part) not in self._copies:
            made = self._copies[id(part)] = copy_sharing_frozen(part)
            for module in made.modules():
                if isinstance(module, BATCH_NORMS):
                    module.momentum = 1.0  # as if many batches had been as large
        return self._copies[id(part)]

    @cached_property
    def _inputs(self) -> tuple[Tensor, ...]:
        return self._task.to_device(_random_like(as_tensors(self._task.example)))

    @cached_property
    def _smashed(self) -> tuple[Tensor, ...]:
        """Smashed data of the example, with noise: zeros would not reveal a broken half."""
        return self._task.to_device(_random_like(self._task.smashed_example(), samples=1))

    @cached_property
    def _hidden(self) -> tuple[Tensor, ...]:
        """Hidden states of the example, with noise."""
        return self._task.to_device(_random_like(self._task.hidden_example()))

    @cached_property
    def _labels(self) -> Tensor:
        return self._task.objective.example_labels(len(self._smashed[0])).to(self._task.device)


def _tensors_in(state: Mapping[Any, Mapping[str, Any]]) -> list[Tensor]:
    """Return an optimizer's tensors, but not its counts of steps, which stay on the CPU."""
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


def _random_like(tensors: Sequence[Tensor], samples: int = 2) -> tuple[Tensor, ...]:
    """Return the first samples, with normal noise added to floating-point values.

    A tensor of the whole batch, such as an edge list, stays whole.
    """
    draw = torch.Generator().manual_seed(0)
    rows = tensors[0].shape[:1]
    first = [t[:samples] if t.shape[:1] == rows else t for t in tensors]
    return tuple(
        t.cpu() + torch.randn(t.shape, generator=draw).to(t.dtype) if t.is_floating_point() else t
        for t in first
    )


def _problem_with_values(weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> str | None:
    """Return the first value that is too large, or below 0 where that is impossible."""
    for name, tensor in weights.items():
        largest = _largest([tensor])
        # A constant of the model's own, such as an attention mask, may be as large.
        if not largest <= LARGEST and not torch.equal(tensor, before[name].cpu().to(tensor.dtype)):
            return f"a value of {largest:.2g} in {name!r}; at most {LARGEST:g} is taken"
        if name.rpartition(".")[2] in NOT_NEGATIVE and bool((tensor < 0).any()):
            return f"a value of {tensor.min().item():.2g} in {name!r}, which cannot be below 0"
    return None
