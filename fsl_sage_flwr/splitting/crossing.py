"""Describe the tensors that cross a cut, and carry them as one row per sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import SplitError

# Additive attention masks hold 0 and this or less; finite ones hold their type's smallest value.
MASKED = -1e4


@dataclass(frozen=True)
class TensorSpec:
    """Shape of a tensor, and how its batch lies in it.

    Attributes
    ----------
    sizes : tuple of int
        Shape in a batch of ``batch`` samples.
    dtype : torch.dtype
        Its dtype.
    batch : int
        Number of samples in the batch.
    axis : int or None
        Axis that grows with the batch; None for a tensor of the whole batch.
    rows : int
        Elements per sample along the axis.
    masked : float or None
        Value other than 0 in an additive mask, which crosses as booleans; None for others.
    free : tuple of (int, int)
        Axes with a size per batch, and the numbers of these sizes.
    """

    sizes: tuple[int, ...]
    dtype: torch.dtype
    batch: int
    axis: int | None
    rows: int = 1
    masked: float | None = None
    free: tuple[tuple[int, int], ...] = ()

    @classmethod
    def between(cls, tensor: Tensor, larger: Tensor, batch: int, larger_batch: int) -> "TensorSpec":
        """Compare a tensor with the same one of a larger batch.

        Raises
        ------
        SplitError
            Its size depends on the batch in another way than by rows per sample.
        """
        sizes, others = tuple(tensor.shape), tuple(larger.shape)
        if sizes == others:
            return cls(sizes, tensor.dtype, batch, None)
        grown = [k for k, (a, b) in enumerate(zip(sizes, others, strict=False)) if a != b]
        if len(sizes) == len(others) and len(grown) == 1:
            axis = grown[0]
            rows, rest = divmod(sizes[axis], batch)
            if not rest and rows and others[axis] == rows * larger_batch:
                return cls(sizes, tensor.dtype, batch, axis, rows)
        raise SplitError(
            f"a tensor of shape {sizes} in a batch of {batch} has shape {others} in one of "
            f"{larger_batch}: it has no row per sample. Cut before the module that packs or "
            "gathers what is in it, or behind the one that puts it back into rows, e.g. behind "
            "pad_packed_sequence."
        )

    def freed(self, smaller: Tensor, pairs: list[tuple[int, int]]) -> "TensorSpec":
        """Return the same with the axes free that are smaller in another batch.

        ``pairs`` has the example's and the other batch's size of each free size; it grows. Equal
        pairs are one size.

        Raises
        ------
        SplitError
            The tensor depends on the sizes in another way.
        """
        free = []
        for axis, (size, other) in enumerate(zip(self.sizes, smaller.shape, strict=False)):
            if size != other:
                if axis == self.axis or smaller.dim() != len(self.sizes) or other > size:
                    raise SplitError(
                        f"a tensor of shape {self.sizes} has shape {tuple(smaller.shape)} in the "
                        "smaller batch: its sizes cannot differ from batch to batch"
                    )
                if (size, other) not in pairs:
                    pairs.append((size, other))
                free.append((axis, pairs.index((size, other))))
        return replace(self, free=tuple(free))

    def in_batch(self, batch: int, sizes: Sequence[int] = ()) -> tuple[int, ...]:
        """Return the shape in another batch, with its free sizes."""
        shape = list(self.sizes)
        if self.axis is not None:
            shape[self.axis] = self.rows * batch
        for axis, number in self.free:
            shape[axis] = sizes[number]
        return tuple(shape)

    def filled(
        self, value: int, batch: int, device: torch.device, sizes: Sequence[int] = ()
    ) -> Tensor:
        """Return one value in the shape of a batch."""
        return torch.full(self.in_batch(batch, sizes), value, dtype=self.dtype, device=device)

    def zeros(self, batch: int, device: torch.device, sizes: Sequence[int] = ()) -> Tensor:
        """Return zeros in the shape of a batch."""
        return self.filled(0, batch, device, sizes)

    def pack(self, tensor: Tensor, batch: int) -> Tensor:
        """Return the tensor with one row per sample; one of the whole batch is repeated."""
        if self.masked is not None:
            tensor = tensor != 0
        if self.axis is None:
            return tensor.unsqueeze(0).expand(batch, *tensor.shape)
        tensor = tensor.movedim(self.axis, 0)
        return tensor if self.rows == 1 else tensor.reshape(batch, self.rows, *tensor.shape[1:])

    @property
    def packed_free(self) -> tuple[tuple[int, int], ...]:
        """The free axes of the packed tensor, with the numbers of their sizes."""
        return tuple((self._packed_axis(axis), number) for axis, number in self.free)

    def _packed_axis(self, axis: int) -> int:
        if self.axis is None:
            return axis + 1
        return (axis + 1 if axis < self.axis else axis) + (self.rows > 1)

    def unpack(self, packed: Tensor, sizes: Sequence[int] = ()) -> Tensor:
        """Return the tensor from its rows; larger ones are cut to the free sizes.

        A copy, because the server half may begin with an in-place operation, which autograd does
        not allow on a leaf.
        """
        if self.axis is None:
            tensor = packed[0]
        else:
            tensor = packed if self.rows == 1 else packed.flatten(0, 1)
            tensor = tensor.movedim(0, self.axis)
        for axis, number in self.free:
            tensor = tensor.narrow(axis, 0, sizes[number])
        if self.masked is not None:
            zeros = torch.zeros(tensor.shape, dtype=self.dtype, device=tensor.device)
            return zeros.masked_fill_(tensor, self.masked)
        plain = self.axis == 0 and not self.free
        return tensor.clone() if plain else tensor.clone(memory_format=torch.contiguous_format)


def sizes_in(
    tensors: Iterable[tuple[str, Tensor, TensorSpec]], batch: int, pairs: Sequence[tuple[int, int]]
) -> list[int]:
    """Return a batch's free sizes.

    Raises
    ------
    SplitError
        A tensor, given with its name, has a shape that the cut was not proven for.
    """
    found: dict[int, int] = {}
    for name, tensor, spec in tensors:
        for axis, number in spec.free:
            if axis < tensor.dim():
                found.setdefault(number, tensor.shape[axis])
        if tensor.dim() != len(spec.sizes):
            raise SplitError(
                f"{name} has shape {tuple(tensor.shape)}; when the model was cut it had "
                f"{spec.sizes}: the forward takes another path in this pass, at random (as with "
                "stochastic depth) or by its inputs' values. Set that probability to 0, or cut "
                "before or behind all such paths"
            )
        if tuple(tensor.shape) != spec.in_batch(batch, [*_filled(found, pairs)]):
            raise SplitError(
                f"{name} has shape {tuple(tensor.shape)}; when the model was cut it had "
                f"{spec.sizes}: pad batches to the example's size, or cut with "
                "split(…, smaller=batch), a batch of other sizes on every axis that varies"
            )
    return [*_filled(found, pairs)]


def _filled(found: dict[int, int], pairs: Sequence[tuple[int, int]]) -> Iterable[int]:
    return (found.get(number, largest) for number, (largest, _) in enumerate(pairs))


def masked_value(tensors: Sequence[Tensor]) -> float | None:
    """Return the value other than 0 of additive masks, None if the tensors are none."""
    found: set[float] = set()
    for tensor in tensors:
        if not tensor.is_floating_point():
            return None
        found |= set(torch.unique(tensor[tensor != 0])[:2].tolist())
    return found.pop() if len(found) == 1 and max(found) <= MASKED else None
