"""What a round's replies wait with for its average: weights in memory, and then in a file."""

import os
from tempfile import TemporaryFile
from typing import IO

from flwr.app import Array, ArrayRecord, RecordDict

from ..atomic_files import explain_disk_errors
from ..tensor_store import TensorStore

IN_MEMORY = 2**29  # bytes of a round's replies


class SpooledArray(Array):
    """An array whose bytes are in a file, and read whenever they are used.

    Parameters
    ----------
    array : Array
        Whose bytes are added at the end of the file.
    file : file
        Unbuffered.
    """

    # Flower's own constructor wants the bytes, to hold them.
    def __init__(self, array: Array, file: IO[bytes]) -> None:
        self.dtype, self.shape, self.stype = array.dtype, array.shape, array.stype
        self._file, self._begin, self._size = file, file.seek(0, os.SEEK_END), len(array.data)
        left = memoryview(array.data)
        while left:
            left = left[file.write(left) :]

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The bytes.

        Raises
        ------
        RuntimeError
            The round is over, or somebody has shortened the file.
        """
        if self._file.closed:
            raise RuntimeError("the round is over: its replies' weights have been let go of")
        self._file.seek(self._begin)
        parts, left = [], self._size
        while left:
            parts.append(self._file.read(left))
            left -= len(parts[-1])
            if not parts[-1]:
                raise RuntimeError(f"{left} bytes of weights are no longer in their file")
        return b"".join(parts)


class ReplySpool:
    """The weights of one round's replies, of which only so many are held in memory.

    Flower averages when all replies are there, and a round may have a thousand models. What
    is more than ``IN_MEMORY`` is in a file without a name, which goes when the round is closed,
    and with the process, however that ends. The bytes are the same, so the average is.

    Parameters
    ----------
    folder : TensorStore
        Where the file is, if there is one.
    """

    def __init__(self, folder: TensorStore) -> None:
        self._folder, self._left = folder, IN_MEMORY
        self._file: IO[bytes] | None = None

    def add(self, content: RecordDict) -> None:
        """Take the records of arrays that are left in a reply, and leave others like them in it.

        Raises
        ------
        DiskError
            The file cannot be written.
        """
        for name, record in list(content.items()):
            if isinstance(record, ArrayRecord):
                self._left -= record.count_bytes()
                if self._left < 0:
                    content[name] = self._filed(record)

    def close(self) -> None:
        """Let go of the file: what is in it cannot be read any more."""
        if self._file is not None:
            self._file.close()

    def _filed(self, record: ArrayRecord) -> ArrayRecord:
        path = self._folder.path
        with explain_disk_errors(path):
            if self._file is None:
                path.mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=path, buffering=0)  # noqa: SIM115 - a round's
            filed = ArrayRecord()  # which copies the arrays that it is made of
            for key, array in record.items():
                filed[key] = SpooledArray(array, self._file)
            return filed
