"""Smashed data and labels of one or more batches.

``B`` samples in a batch, ``N`` in all batches together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from flwr.app import RecordDict
from torch import Tensor

from .arrays import in_memory, numbered, tensors_of
from .encoding import IDENTITY, Decoder
from .records import LABELS, SMASHED, BadReplyError, check_finite, record_of

_LABELS = "labels"
_SIZES = "batch-sizes"
_HELD_OUT = "held-out"


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
    """

    tensors: tuple[Tensor, ...]
    problem_with_labels: Callable[[Tensor], str | None]
    smallest_batch: int = 1
    held_out: bool = False


@dataclass(frozen=True)
class SmashedBatches:
    """Batches of smashed data with their labels, in the order of the forward passes.

    Attributes
    ----------
    tensors : tuple of Tensor
        The tensors that cross the cut, each ``(N, …)``.
    labels : Tensor
        ``(N, …)``, the objective's labels.
    batch_sizes : tuple of int
        Samples per batch; they add up to ``N``.
    held_out : Tensor or None
        ``(N,)``, bool: samples on which estimates are measured, and which no fit uses. None for
        none.
    """

    tensors: tuple[Tensor, ...]
    labels: Tensor
    batch_sizes: tuple[int, ...]
    held_out: Tensor | None = None

    @classmethod
    def join(
        cls,
        batches: Sequence[tuple[tuple[Tensor, ...], Tensor]],
        held_out: Sequence[Tensor] = (),
    ) -> "SmashedBatches":
        """Concatenate one or more batches, on the CPU.

        ``held_out`` has the mask of each batch, or is empty.
        """
        columns = zip(*(tensors for tensors, _ in batches), strict=True)
        return cls(
            tensors=tuple(torch.cat([t.cpu() for t in column]) for column in columns),
            labels=torch.cat([labels.cpu() for _, labels in batches]),
            batch_sizes=tuple(len(labels) for _, labels in batches),
            held_out=torch.cat([mask.cpu() for mask in held_out]) if held_out else None,
        )

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Iterate over (smashed tensors, labels) of each batch."""
        start = 0
        for size in self.batch_sizes:
            rows = slice(start, start + size)
            yield tuple(tensor[rows] for tensor in self.tensors), self.labels[rows]
            start += size

    def write_to(self, content: RecordDict) -> None:
        """Add the records ``smashed`` and ``labels``, not serialized yet."""
        content[SMASHED] = in_memory(numbered(self.tensors))
        sizes = torch.tensor(self.batch_sizes, dtype=torch.int64)
        beside = {} if self.held_out is None else {_HELD_OUT: self.held_out}
        content[LABELS] = in_memory({_LABELS: self.labels, _SIZES: sizes, **beside})

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
        smashed = decoder.decode_smashed(encoded, len(labels), spec.tensors)
        check_batch(smashed, len(labels), spec.tensors, SMASHED)
        try:
            problem = spec.problem_with_labels(labels)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            # The objective is the user's, the labels are the sender's.
            problem = f"labels cannot be checked: {' '.join(str(error).split())[:200]}"
        if problem is not None:
            raise BadReplyError(problem)
        return cls(tuple(smashed.values()), labels, tuple(sizes.tolist()), held_out)


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
    """Replace the smashed data of a reply, each tensor ``(N, …)``; a reply may have none."""
    if SMASHED in content:
        changed = change(tuple(tensors_of(content, SMASHED).values()))
        content[SMASHED] = in_memory(numbered(changed))


def check_batch(
    found: Mapping[str, Tensor], count: int, like: Sequence[Tensor], record: str
) -> None:
    """Refuse tensors of a record that do not have ``count`` samples like the examples.

    Raises
    ------
    BadReplyError
        Their number, a shape or a dtype differs, or a value is not finite.
    """
    what = "smashed data" if record == SMASHED else record
    if list(found) != [str(i) for i in range(len(like))]:
        raise BadReplyError(f"{len(like)} {record} tensors expected, got {list(found)}")
    for (key, tensor), example in zip(found.items(), like, strict=True):
        wanted = (count, *example.shape[1:])
        if tuple(tensor.shape) != wanted or tensor.dtype != example.dtype:
            raise BadReplyError(
                f"{what} {key} are {tensor.dtype} {tuple(tensor.shape)}; "
                f"expected {example.dtype} {wanted}"
            )
        check_finite(tensor, key, record)
