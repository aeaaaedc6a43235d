"""Divide samples into batches."""


def batches_of(count: int, size: int) -> list[slice]:
    """Divide ``count`` samples into batches; a single sample at the end joins the last batch.

    BatchNorm in training mode cannot normalise a batch of one sample: it has no variance.
    """
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], count]
    return [slice(start, end) for start, end in zip(starts, ends, strict=False)]
