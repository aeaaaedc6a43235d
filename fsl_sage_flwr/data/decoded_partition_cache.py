"""Clients' decoded parts in files, for the other processes that serve the same clients."""

from contextlib import suppress
from pathlib import Path

from torch import Tensor

from ..atomic_files import DiskError, make_private, replacing
from ..tensor_store import SUFFIX, TensorFile, write_tensors

IMAGES, LABELS = "images", "labels"


class DecodedPartitionCache:
    """Parts of one run's training split: to map a file into memory takes no decoding.

    Any process may serve any client of a simulation. What is decoded is what clients at work
    need, each part once, by the process that needs it first.

    Parameters
    ----------
    folder : Path
        Of one run; it is made when something is written. All that write there divide the same
        split in the same way.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, partition_id: int, num_partitions: int) -> tuple[Tensor, Tensor] | None:
        """Return a client's images and labels; None where no process has written them."""
        path = self._path(partition_id, num_partitions)
        if not path.is_file():
            return None
        found = TensorFile(path).load()
        return found[IMAGES], found[LABELS]

    def write(self, partition_id: int, num_partitions: int, images: Tensor, labels: Tensor) -> None:
        """Write a client's images and labels, if the disk takes them: who has them needs no file.

        Parameters
        ----------
        images : Tensor
            ``(N, C, H, W)``, uint8.
        labels : Tensor
            ``(N,)``, int64.
        """
        path = self._path(partition_id, num_partitions)
        with suppress(DiskError):
            make_private(self._folder)
            with replacing(path, synced=False, private=True) as unfinished:
                write_tensors(unfinished, {IMAGES: images, LABELS: labels})

    def _path(self, partition_id: int, num_partitions: int) -> Path:
        return self._folder / f"{partition_id}-of-{num_partitions}{SUFFIX}"
