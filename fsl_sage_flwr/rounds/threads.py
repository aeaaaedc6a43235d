"""How many threads the server computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..cpus import usable_cpus


@contextmanager
def threads_as_before() -> Iterator[None]:
    """Leave torch's number of threads as it was, whatever happens inside."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def all_threads() -> Iterator[None]:
    """Compute with every CPU of this process inside: the clients are at rest."""
    with threads_as_before():
        torch.set_num_threads(usable_cpus())
        yield
