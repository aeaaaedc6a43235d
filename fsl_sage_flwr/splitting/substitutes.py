"""Modules that stand for those of the other half in a replayed cut."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from .blanks import blank
from .crossing import TensorSpec
from .errors import SplitError, UnfaithfulError, running_the_model
from .half_pass import CutReachedError, arrived, half_pass
from .operations import Place
from .pytree import Path, leaves_by_path, map_leaves, map_paths

AFTER_FORWARD = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
)  # fmt: skip
Emptied = Callable[[nn.Module], nn.Module]
"""Returns a copy of a module without values."""
# Of a call: tensors without memory, their shapes (None: computed from the arguments' shapes), and
# the paths of those that are arguments.
Output = tuple[Any, dict[Path, TensorSpec | None], Mapping[Path, Path]]


def _see(hook: Callable[..., object], *call: object) -> None:
    """Call a forward hook without replacing the output by what it returns."""
    hook(*call)


def _new(kind: type[nn.Module]) -> nn.Module:
    """Return a module that is not initialised, for unpickling."""
    return kind.__new__(kind)


class _Substitute(nn.Module):
    """Stands for a module of the other half.

    Has the original module's attributes without their values, and says to be of its class, because
    a forward may read them (``self.embeddings.weight.dtype``, ``layer.attention_type``).
    """

    def __init__(self, original: nn.Module, name: str, emptied: Emptied) -> None:
        super().__init__()
        self.fsl_sage_name = name
        # A tuple keeps it from becoming a submodule.
        self.fsl_sage_original = (emptied(original),)

    @property  # type: ignore[misc]  # isinstance asks for it
    def __class__(self) -> Any:
        original = vars(self).get("fsl_sage_original")
        return type(self) if original is None else type(original[0])

    def __reduce__(self) -> Any:
        """Pickle as what it is: pickle compares the class with ``__class__``."""
        return _new, (type(self),), vars(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "fsl_sage_original" not in vars(self):
                raise
            value = getattr(self.fsl_sage_original[0], name)
        if isinstance(value, Tensor) and value.is_meta and half_pass.device is not None:
            # Computes beside the smashed data, with the memory of one element.
            return blank((), value.dtype, half_pass.device).expand(value.shape)
        return value


class Stop(_Substitute):
    """Stands for the cut module in the client half."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """End the client half's forward."""
        raise CutReachedError((args, kwargs))


class Unreached(_Substitute):
    """Stands for a module of the server half in the client half."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to run."""
        raise SplitError(
            f"{self.fsl_sage_name!r} is called before the cut, but is in the server half"
        )


class Absent(_Substitute):
    """Stands for a module of the client half in the server half; returns zeros or smashed data.

    ``outputs`` has the outputs of each call by mode, and the shapes of their tensors by path. The
    original's forward hooks see what it returns: Transformers' collect hidden states. What they
    return is in the smashed data already.
    """

    def __init__(
        self,
        original: nn.Module,
        name: str,
        emptied: Emptied,
        outputs: dict[bool, list[Output]],
    ) -> None:
        super().__init__(original, name, emptied)
        self.fsl_sage_outputs = outputs
        for table in AFTER_FORWARD:
            vars(self)[table] = copy.copy(vars(original)[table])
        self._forward_hooks.update(
            {key: partial(_see, hook) for key, hook in self._forward_hooks.items()}
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs of this call."""
        if half_pass.reached or half_pass.device is None:
            raise SplitError(f"module {self.fsl_sage_name!r} is called on both sides of the cut")
        device, name = half_pass.device, self.fsl_sage_name
        time = half_pass.calls[name]
        half_pass.calls[name] += 1
        outputs = self.fsl_sage_outputs[self.training] or self.fsl_sage_outputs[not self.training]
        if not outputs:  # the forward calls it for other values, as a mixture does its experts
            return self._blank(args, kwargs, device)
        output, specs, passed = outputs[min(time, len(outputs) - 1)]
        given = leaves_by_path((args, kwargs), Tensor) if passed else {}
        shapes = self._shapes(args, kwargs) if None in specs.values() else {}

        def made(path: Path, like: Tensor) -> Tensor:
            if passed.get(path) in given:
                return cast(Tensor, given[passed[path]])
            smashed = arrived(Place("module", name, time, path))
            if smashed is not None:
                return smashed
            spec = specs[path]
            if spec is None:
                return blank(shapes.get(path, like.shape), like.dtype, device)
            return blank(spec.in_batch(half_pass.batch, half_pass.sizes), spec.dtype, device)

        return map_paths(output, Tensor, made)

    def _blank(self, args: Any, kwargs: Any, device: torch.device) -> Any:
        """Return zeros in the form of the original's outputs."""
        output = self._without_values(args, kwargs)
        if output is None:
            raise UnfaithfulError(
                f"the forward calls module {self.fsl_sage_name!r} for some inputs' values alone, "
                "and the form of its outputs is not known without it."
            )
        return map_leaves(output, Tensor, lambda like: blank(like.shape, like.dtype, device))

    def _shapes(self, args: Any, kwargs: Any) -> dict[Path, torch.Size]:
        output = self._without_values(args, kwargs)
        return {path: t.shape for path, t in leaves_by_path(output, Tensor).items()}

    def _without_values(self, args: Any, kwargs: Any) -> Any:
        """Return the original's outputs, computed without values; None if that fails."""
        original = self.fsl_sage_original[0].train(self.training)
        for emptied in (_emptied, _emptied_if_floating):
            try:
                with running_the_model("a module without values"), torch.no_grad():
                    given = map_leaves((args, kwargs), Tensor, emptied)
                    return original(*given[0], **given[1])
            except SplitError:
                continue
        return None


def _emptied(tensor: Tensor) -> Tensor:
    return tensor.to("meta")


def _emptied_if_floating(tensor: Tensor) -> Tensor:
    """Leave lengths of packed sequences on the CPU, where PyTorch wants them."""
    return tensor.to("meta") if tensor.is_floating_point() else tensor
