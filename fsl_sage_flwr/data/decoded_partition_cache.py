"""Share clients' decoded partitions between processes through files."""

from contextlib import suppress
from pathlib import Path

from torch import Tensor

from ..atomic_files import DiskError, atomic_write, make_private
from ..tensor_store import SUFFIX, TensorFile, write_tensors

IMAGES, LABELS = "images", "labels"


class DecodedPartitionCache:
    """Stores the decoded partitions of one run's training split.

    Any process may serve any client of a simulation. The first process that needs a partition
    decodes it; the others map its file into memory.

    Parameters
    ----------
    folder : Path
        Folder of the run, created by the first write. All processes that use it must divide the
        same split in the same way.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, partition_id: int, num_partitions: int) -> tuple[Tensor, Tensor] | None:
        """Return a client's images and labels, or None if they are not cached."""
        path = self._path(partition_id, num_partitions)
        if not path.is_file():
            return None
        found = TensorFile(path).load()
        return found[IMAGES], found[LABELS]

    def write(self, partition_id: int, num_partitions: int, images: Tensor, labels: Tensor) -> None:
        """Write a client's images and labels; a full or read-only disk is ignored.

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
            with atomic_write(path, synced=False, private=True) as unfinished:
                write_tensors(unfinished, {IMAGES: images, LABELS: labels})

    def _path(self, partition_id: int, num_partitions: int) -> Path:
        return self._folder / f"{partition_id}-of-{num_partitions}{SUFFIX}"
