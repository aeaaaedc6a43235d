"""Spools reply weights to disk above a memory limit."""

import os
from tempfile import TemporaryFile
from typing import IO

from flwr.app import Array, ArrayRecord, RecordDict

from ..atomic_files import explain_disk_errors
from ..tensor_store import TensorStore

IN_MEMORY = 2**29  # bytes of a round's replies


class SpooledArray(Array):
    """An array whose bytes are in a file, and read whenever they are used.

    Flower has no array that is read when used: this one relies on every method of ``Array`` that
    uses the bytes reading the attribute ``data``. The tests of each strategy with a limit of 0
    bytes fail where one does not.

    Parameters
    ----------
    array : Array
        Its bytes are appended to the file.
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
            The round is over, or the file was truncated.
        """
        if self._file.closed:
            raise RuntimeError("the round is over: its replies' weights are released")
        self._file.seek(self._begin)
        parts, left = [], self._size
        while left:
            parts.append(self._file.read(left))
            left -= len(parts[-1])
            if not parts[-1]:
                raise RuntimeError(f"{left} bytes of weights are no longer in their file")
        return b"".join(parts)


class ReplySpool:
    """Keeps the weights of one round's replies until the average.

    Flower averages when all replies have arrived, and a round may have a thousand models. Bytes
    beyond ``IN_MEMORY`` are in a file without a name, which is removed when the round is closed
    or the process ends. The bytes are the same, and so is the average.

    Parameters
    ----------
    folder : TensorStore
        Folder of the file.

    Attributes
    ----------
    folder : TensorStore
        The same.
    """

    def __init__(self, folder: TensorStore) -> None:
        self.folder, self._left = folder, IN_MEMORY
        self._file: IO[bytes] | None = None

    def add(self, content: RecordDict) -> None:
        """Move a reply's arrays to the file, if they exceed the limit.

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
        """Remove the file: its arrays cannot be read afterwards."""
        if self._file is not None:
            self._file.close()

    def _filed(self, record: ArrayRecord) -> ArrayRecord:
        path = self.folder.path
        with explain_disk_errors(path):
            if self._file is None:
                path.mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=path, buffering=0)  # noqa: SIM115 - a round's
            filed = ArrayRecord()  # which copies the arrays that it is made of
            for key, array in record.items():
                filed[key] = SpooledArray(array, self._file)
            return filed
