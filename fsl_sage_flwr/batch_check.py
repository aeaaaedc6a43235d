"""Check the batches that a task's functions give: one line names what is expected."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

from .splitting import Inputs, as_tensors
from .splitting.pytree import leaves_of

EXPECTED = (
    "each batch must be a pair (inputs, labels): a tensor, a tuple or a mapping of tensors, as in "
    "the task's example, and one tensor of labels"
)

# Of the last batch in this thread, if it has other sizes than the example.
_other_sizes: ContextVar[str] = ContextVar("other_sizes", default="")


def check_function(value: object, signature: str) -> None:
    """Refuse anything that is not a function, such as a ``DataLoader``.

    Raises
    ------
    ValueError
        Names the signature.
    """
    if not callable(value):
        name = signature.partition("(")[0]
        raise ValueError(
            f"{name} is a {type(value).__name__}; give a function {signature} that returns the "
            f"batches, such as that {type(value).__name__}; {EXPECTED}"
        )


def check_iterable(value: object, source: str) -> None:
    """Refuse a result that is no batches at all.

    Raises
    ------
    ValueError
        Names the function and the expected form.
    """
    if not isinstance(value, Iterable) or isinstance(value, Tensor | Mapping | str):
        raise ValueError(
            f"{source} returns {_shown(value)}, which is no list of batches; {EXPECTED}"
        )


def check_batch(batch: Any, example: Inputs, source: str) -> None:
    """Refuse anything but inputs like the example and a tensor of labels.

    Parameters
    ----------
    batch : object
        What a task's function gives.
    example : Tensor or tuple of Tensor
        The task's example of the inputs.
    source : str
        Name of the function.

    Raises
    ------
    ValueError
        Names the function, what it gives and the expected form.
    """
    problem = _problem_with(batch, example)
    if problem is not None:
        raise ValueError(f"{source} gives {problem}; {EXPECTED}")
    given, expected = as_tensors(batch[0]), as_tensors(example)
    said = ""
    if [(t.dtype, t.shape[1:]) for t in given] != [(t.dtype, t.shape[1:]) for t in expected]:
        said = f"{source} gives inputs of {_sizes(given)}; the example is {_sizes(expected)}"
    _other_sizes.set(said)


@contextmanager
def explaining_other_sizes() -> Iterator[None]:
    """Explain torch's error in a pass on a batch with other sizes than the example's.

    Many models take images or texts of any size, so that other sizes are an error only if the
    pass fails.

    Raises
    ------
    ValueError
        Names the sizes of both.
    """
    token = _other_sizes.set("")
    try:
        yield
    except RuntimeError as error:
        if not _other_sizes.get() or type(error) is not RuntimeError:
            raise
        raise ValueError(f"{_other_sizes.get()}: {' '.join(str(error).split())}") from error
    finally:
        _other_sizes.reset(token)


def _sizes(tensors: Iterable[Tensor]) -> str:
    """Return dtypes and shapes, with a point for the number of samples."""
    return ", ".join(
        f"{str(t.dtype).removeprefix('torch.')} ({', '.join(['·', *map(str, t.shape[1:])])})"
        for t in tensors
    )


def _problem_with(batch: object, example: object) -> str | None:
    if isinstance(batch, Tensor):
        return f"{_shown(batch)} alone: inputs without labels"
    if not isinstance(batch, tuple | list):
        return _shown(batch)
    if len(batch) != 2:
        kinds = ", ".join(map(_shown, batch[:4]))
        return f"{len(batch)} values ({kinds}): for several inputs give ((first, second), labels)"
    inputs, labels = batch
    if isinstance(labels, Mapping):
        return (
            f"labels as {_shown(labels)}: stack the tasks' labels to one tensor (B, …), which the "
            "objective reads"
        )
    if not isinstance(labels, Tensor):
        return f"labels as {_shown(labels)}: give torch.as_tensor(labels)"
    problem = _problem_with_inputs(inputs, example)
    if problem is None and labels.dim() == 0:
        return "one number as label: give one for each sample"
    return problem


def _problem_with_inputs(inputs: Any, example: object) -> str | None:
    if isinstance(example, Mapping):
        names = ", ".join(map(repr, example))
        if not isinstance(inputs, Mapping):
            return f"inputs as {_shown(inputs)}: give a mapping with {names}, the example's names"
        if set(inputs) != set(example):
            other = ", ".join(map(repr, inputs)) or "nothing"
            return f"inputs named {other}; the model was cut with an example of {names}"
        inputs = {name: inputs[name] for name in example}
    elif isinstance(inputs, Mapping):
        return (
            f"inputs as {_shown(inputs)}; the model was cut with an example without names: give "
            "tensors in its order, or cut with a mapping as example"
        )
    given, expected = _tensors(inputs), leaves_of(example, Tensor)
    if given is None:
        return f"inputs as {_shown(inputs)}: give tensors, as in the task's example"
    if len(given) != len(expected):
        return f"{len(given)} tensors of inputs, and the task's example has {len(expected)}"
    for tensor, like in zip(given, expected, strict=True):
        if tensor.dim() != like.dim():
            return (
                f"inputs of shape {tuple(tensor.shape)}, and the task's example has "
                f"{tuple(like.shape)}: give as many axes"
            )
        if tensor.dtype != like.dtype and (tensor.is_floating_point() or like.is_floating_point()):
            return (
                f"inputs of {tensor.dtype}, and the task's example has {like.dtype}: convert them "
                f"with .to({like.dtype}), or cut with an example of {tensor.dtype}"
            )
    return None


def _tensors(inputs: Any) -> list[Tensor] | None:
    """Return the tensors of inputs; None if a value among them is none."""
    if isinstance(inputs, Tensor):
        return [inputs]
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    if not isinstance(inputs, tuple | list | Mapping):
        return None
    return list(values) if all(isinstance(value, Tensor) for value in values) else None


def _shown(value: object) -> str:
    """Return the type of a value, with its shape or keys."""
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {', '.join(map(repr, list(value)[:4])) or 'nothing'}"
    shape = getattr(value, "shape", None)
    name = "nothing (None)" if value is None else f"a {type(value).__name__}"
    return f"{name} of shape {tuple(shape)}" if isinstance(shape, tuple) else name
