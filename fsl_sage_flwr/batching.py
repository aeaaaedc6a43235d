"""Cut samples in batches."""


def batches_of(count: int, size: int) -> list[slice]:
    """Cut ``count`` samples in batches; a last one of a single sample joins its neighbour.

    BatchNorm in training mode has no variance to normalise a single sample by.
    """
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], count]
    return [slice(start, end) for start, end in zip(starts, ends, strict=False)]
