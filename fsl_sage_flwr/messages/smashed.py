"""Smashed data and labels of one or more batches.

Batches whose tensors have the same sizes are sent as one array per tensor, others as one array per
tensor and batch. ``B`` samples in a batch, ``N`` in all batches together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from flwr.app import ArrayRecord, RecordDict
from torch import Tensor

from ..splitting.joining import concatenated
from ..splitting.layout import laid_out
from .arrays import MOST_BYTES, in_memory, numbered, tensors_of
from .encoding import IDENTITY, Decoder
from .records import LABELS, SMASHED, BadReplyError, check_finite, record_of, shown

_LABELS = "labels"
_SIZES = "batch-sizes"
_HELD_OUT = "held-out"

# Limits on a sender of several sizes: the values that filling with zeros adds, and a size that no
# tensor shows, in multiples of those sent and of the example's.
MOST_FILLED, MOST_GROWN = 64, 64
MOST_VALUES = MOST_BYTES // 8

Shapes = tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class SmashedSpec:
    """Requirements on the smashed data of a reply.

    Attributes
    ----------
    tensors : tuple of Tensor
        Examples: dtypes, and shapes beyond the first axis.
    problem_with_labels : callable
        Returns the error of labels, or None for valid ones.
    smallest_batch : int
        Smallest number of samples in a batch: 2 where the server half normalises over the
        batch alone.
    held_out : bool
        Whether the sender may mark held-out samples.
    free : tuple
        Axes with a size per batch, as ``SplitModel.free``; the last tensor then has the sizes.
    """

    tensors: tuple[Tensor, ...]
    problem_with_labels: Callable[[Tensor], str | None]
    smallest_batch: int = 1
    held_out: bool = False
    free: tuple[tuple[tuple[int, int], ...], ...] = ()


@dataclass(frozen=True)
class SmashedBatches:
    """Batches of smashed data with their labels, in the order of the forward passes.

    Attributes
    ----------
    tensors : tuple of Tensor
        The tensors that cross the cut, each ``(N, …)``; smaller batches are filled with zeros.
    labels : Tensor
        ``(N, …)``, the objective's labels.
    batch_sizes : tuple of int
        Samples per batch; they add up to ``N``.
    held_out : Tensor or None
        ``(N,)``, bool: samples on which estimates are measured, and which no fit uses. None for
        none.
    shapes : tuple of tuple of tuple of int
        Each batch's shape of each tensor, beyond the first axis. Empty if all batches have the same
        shapes.
    layouts : tuple of Tensor
        Examples with the memory layout of each tensor's batches; empty for row by row.
    """

    tensors: tuple[Tensor, ...]
    labels: Tensor
    batch_sizes: tuple[int, ...]
    held_out: Tensor | None = None
    shapes: Shapes = ()
    layouts: tuple[Tensor, ...] = ()

    @classmethod
    def join(
        cls,
        batches: Sequence[tuple[tuple[Tensor, ...], Tensor]],
        held_out: Sequence[Tensor] = (),
    ) -> "SmashedBatches":
        """Concatenate one or more batches, on the CPU.

        ``held_out`` has the mask of each batch, or is empty.

        Raises
        ------
        ValueError
            A batch has more or fewer labels than samples.
        """
        for tensors, labels in batches:
            samples = {len(tensor) for tensor in tensors}
            if samples != {len(labels)}:
                raise ValueError(
                    f"a batch of train_batches has {len(labels)} labels, and "
                    f"{', '.join(map(str, sorted(samples)))} samples of it cross the cut: give a "
                    "label for each sample"
                )
        columns = zip(*(tensors for tensors, _ in batches), strict=True)
        shapes = tuple(tuple(tuple(t.shape[1:]) for t in tensors) for tensors, _ in batches)
        return cls(
            tensors=tuple(concatenated([t.cpu() for t in column]) for column in columns),
            labels=torch.cat([labels.cpu() for _, labels in batches]),
            batch_sizes=tuple(len(labels) for _, labels in batches),
            held_out=torch.cat([mask.cpu() for mask in held_out]) if held_out else None,
            shapes=shapes if len(set(shapes)) > 1 else (),
        )

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Iterate over (smashed tensors, labels) of each batch."""
        start = 0
        for k, size in enumerate(self.batch_sizes):
            rows = slice(start, start + size)
            tensors = tuple(tensor[rows] for tensor in self.tensors)
            if self.shapes:
                tensors = tuple(
                    tensor[(slice(None), *map(slice, shape))].contiguous()
                    for tensor, shape in zip(tensors, self.shapes[k], strict=True)
                )
            if self.layouts:
                tensors = tuple(map(laid_out, tensors, self.layouts))
            yield tensors, self.labels[rows]
            start += size

    def mean_square(self) -> float | None:
        """Return the mean over the floating-point tensors of their mean square; None for none."""
        found = []
        for k, tensor in enumerate(self.tensors):
            if tensor.is_floating_point():
                parts = zip(self.batch_sizes, self.shapes, strict=False)
                count = sum(size * prod(shapes[k]) for size, shapes in parts) or tensor.numel()
                found.append(tensor.double().square().sum() / max(count, 1))
        return torch.stack(found).mean().item() if found else None

    def write_to(self, content: RecordDict) -> None:
        """Add the records ``smashed`` and ``labels``, not serialized yet."""
        content[SMASHED] = in_memory(self._by_name())
        sizes = torch.tensor(self.batch_sizes, dtype=torch.int64)
        beside = {} if self.held_out is None else {_HELD_OUT: self.held_out}
        content[LABELS] = in_memory({_LABELS: self.labels, _SIZES: sizes, **beside})

    def _by_name(self) -> dict[str, Tensor]:
        if not self.shapes:
            return numbered(self.tensors)
        parts = enumerate(tensors for tensors, _ in self)
        return {_name(k, place): t for k, tensors in parts for place, t in enumerate(tensors)}

    @classmethod
    def take_from(
        cls, content: RecordDict, spec: SmashedSpec, decoder: Decoder = IDENTITY
    ) -> "SmashedBatches":
        """Take the two records out of a reply, and check them.

        They are taken out because Flower's own strategies want exactly one ArrayRecord
        in a reply to train.

        Raises
        ------
        BadReplyError
            A record is missing, an array is not encoded as ``decoder`` requires, a shape or
            dtype differs from ``spec``, a value is not finite, labels are not valid, or the
            sizes do not add up.
        """
        encoded, labelling = record_of(content, SMASHED), tensors_of(content, LABELS)
        del content[SMASHED], content[LABELS]
        held_out = labelling.pop(_HELD_OUT, None) if spec.held_out else None
        if set(labelling) != {_LABELS, _SIZES}:
            raise BadReplyError(
                f"record {LABELS!r} must hold {_LABELS!r} and {_SIZES!r}, not "
                f"{', '.join(sorted(labelling)[:3]) or 'nothing'}"
            )
        labels, sizes = labelling[_LABELS], labelling[_SIZES]
        if sizes.dtype != torch.int64 or sizes.dim() != 1:
            raise BadReplyError("batch-sizes must be one int64 vector")
        if labels.dim() == 0:
            raise BadReplyError("labels are a single number; one for each sample is needed")
        _check_sizes(sizes.tolist(), len(labels), spec.smallest_batch)
        if held_out is not None and (
            held_out.dtype != torch.bool or held_out.shape != (len(labels),)
        ):
            raise BadReplyError(f"{_HELD_OUT} must be {len(labels)} times true or false")
        each = sizes.tolist()
        like = _expected(encoded, each, spec)
        smashed = decoder.decode_smashed(encoded, like)
        check_batch(smashed, like, SMASHED)
        tensors, shapes = _joined(list(smashed.values()), len(spec.tensors))
        found = cls(tensors, labels, tuple(each), held_out, shapes, spec.tensors)
        if spec.free:
            _check_free_sizes(found, spec)
        try:
            problem = spec.problem_with_labels(labels)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            # The objective is the user's, the labels are the sender's.
            problem = f"labels cannot be checked: {' '.join(str(error).split())[:200]}"
        if problem is not None:
            raise BadReplyError(problem)
        return found


def _check_sizes(sizes: list[int], count: int, smallest: int) -> None:
    """Refuse invalid batch sizes, in Python's integers, which do not overflow."""
    if sum(sizes) != count or any(size < smallest for size in sizes) or not sizes:
        shown = f"{sizes[:5]} …" if len(sizes) > 5 else f"{sizes}"
        few = 0 < min(sizes, default=0) < smallest
        more = ": BatchNorm needs two, so let train_batches drop a last batch of 1" if few else ""
        raise BadReplyError(
            f"batch-sizes {shown} do not make {count} samples in batches of at least {smallest}"
            f"{more}"
        )


def change_smashed(
    content: RecordDict, change: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
) -> None:
    """Replace the smashed data of a reply, each tensor ``(N, …)``; a reply may have none.

    Batches of several sizes are changed one after the other.
    """
    if SMASHED in content:
        found = tensors_of(content, SMASHED)
        groups: dict[str, list[str]] = {}
        for name in found:
            groups.setdefault(name.rpartition("/")[0], []).append(name)
        changed: dict[str, Tensor] = {}
        for names in groups.values():
            values = change(tuple(found[name] for name in names))
            changed |= dict(zip(names, values, strict=True))
        content[SMASHED] = in_memory(changed)


def check_batch(found: Mapping[str, Tensor], like: Mapping[str, Tensor], record: str) -> None:
    """Refuse tensors of a record that differ from the examples.

    Raises
    ------
    BadReplyError
        A shape or a dtype differs, or a value is not finite.
    """
    what = "smashed data" if record == SMASHED else record
    for key, tensor in found.items():
        wanted = tuple(like[key].shape)
        if tuple(tensor.shape) != wanted or tensor.dtype != like[key].dtype:
            raise BadReplyError(
                f"{what} {key} are {tensor.dtype} {tuple(tensor.shape)}; "
                f"expected {like[key].dtype} {wanted}"
            )
        check_finite(tensor, key, record)


def _name(batch: int, place: int) -> str:
    return f"{batch}/{place}"


def _expected(record: ArrayRecord, sizes: Sequence[int], spec: SmashedSpec) -> dict[str, Tensor]:
    """Return the expected shapes and dtypes by name; free axes have the declared sizes."""
    count, names = len(spec.tensors), list(record)
    rows = {str(place): (sum(sizes), place) for place in range(count)}
    if spec.free and names != list(rows):
        rows = {_name(k, place): (n, place) for k, n in enumerate(sizes) for place in range(count)}
    if names != list(rows):
        raise BadReplyError(f"{count} smashed tensors expected, got {shown(names)}")
    like = {}
    for name, (samples, place) in rows.items():
        example, declared = spec.tensors[place], tuple(record[name].shape)
        wanted = [samples, *example.shape[1:]]
        for axis, _ in spec.free[place] if spec.free else ():
            if len(declared) == len(wanted) and declared[axis] > 0:
                wanted[axis] = declared[axis]
        if prod(wanted) > MOST_VALUES:
            raise BadReplyError(f"smashed data {name} say {shown(declared)}: no tensor is so large")
        like[name] = torch.empty(wanted, dtype=example.dtype, device="meta")
    return like


def _joined(tensors: Sequence[Tensor], count: int) -> tuple[tuple[Tensor, ...], Shapes]:
    """Return the tensors of all batches, filled with zeros, and the shapes of each batch."""
    if len(tensors) == count:
        return tuple(tensors), ()
    columns = [tensors[place::count] for place in range(count)]
    sent = sum(tensor.numel() for tensor in tensors)
    filled = 0
    for column in columns:
        shapes = zip(*(tensor.shape[1:] for tensor in column), strict=True)
        filled += sum(map(len, column)) * prod(max(sizes) for sizes in shapes)
    if filled > MOST_FILLED * sent:
        raise BadReplyError(
            f"the sizes of the batches differ too much: {filled} values for the {sent} sent; at "
            f"most {MOST_FILLED} times as many are kept"
        )
    shapes_of = [tuple(tuple(t.shape[1:]) for t in column) for column in columns]
    return tuple(map(concatenated, columns)), tuple(zip(*shapes_of, strict=True))


def _check_free_sizes(smashed: SmashedBatches, spec: SmashedSpec) -> None:
    """Refuse sizes, the last tensor's values, that are not the tensors'."""
    usual = spec.tensors[-1][0].tolist()
    for tensors, _ in smashed:
        column = tensors[-1]
        sizes = column[0].tolist()
        same = all(
            tensor.shape[axis] == sizes[number]
            for tensor, axes in zip(tensors, spec.free, strict=True)
            for axis, number in axes
        )
        fit = all(0 < s <= MOST_GROWN * most for s, most in zip(sizes, usual, strict=True))
        if not (same and fit and bool((column == column[0]).all())):
            raise BadReplyError(
                f"sizes {shown(sizes)} are not those of the batch's tensors, or above "
                f"{MOST_GROWN} times the example's {usual}"
            )
