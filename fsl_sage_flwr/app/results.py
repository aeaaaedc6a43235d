"""The directory of one run; this module defines all paths in it."""

import csv
import json
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..atomic_files import DiskError, replacing, sync, writing
from ..messages.ledger import COLUMNS as BYTE_COLUMNS
from ..tensor_store import FILE_NAME, TensorFile, TensorStore, files_in, link_or_copy, map_files
from .checksummed_file import write_sealed
from .provenance import without_credentials

log = logging.getLogger("flwr.fsl_sage")

HISTORY_COLUMNS = (
    "round",
    "test_accuracy",
    "test_loss",
    "validation_accuracy",
    "validation_loss",
    "train_loss",
    "comm_bytes",
    "comm_bytes_reference",
    "comm_bytes_ratio",
    *BYTE_COLUMNS,
    "seconds",
    "client_seconds",
    "client_step_seconds",
    "server_seconds",
    "alignment_seconds",
    "evaluation_seconds",
    "alignment_cosine",
    "alignment_relative_error",
    "epsilon",
    "epsilon_of_labels",
    "clients",
    "failures",
)
CLIENT_COLUMNS = (
    "round", "client", "node_id", "examples", "update_norm", "seconds", "down_bytes", "up_bytes",
    "sample_uploads", "total_sample_uploads", "failure",
)  # fmt: skip
SECONDS_COLUMNS = tuple(column for column in HISTORY_COLUMNS if column.endswith("seconds"))


LATEST = "latest.pt"

# How a checkpoint names a file of tensors, and the checksum of that file's bytes.
FILE, CHECKSUM = "tensor-file", "crc32"

# What torch raises on a file that is no whole checkpoint.
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, UnpicklingError, struct.error),
)


# Status of a run that somebody ended in an orderly way: `flwr stop`, SIGTERM, Ctrl-C.
STOPPED = "stopped"


def is_stop(error: BaseException) -> bool:
    """Return whether an exception means that somebody ended the run in an orderly way."""
    if isinstance(error, SystemExit):
        return not error.code  # Flower's signal handler exits with 0
    return isinstance(error, KeyboardInterrupt)


def tensors_of(checkpoint: Path) -> Path:
    """Return the folder of the files that a checkpoint names."""
    return checkpoint.parent / "tensors"


def names_in(checkpoint: Path) -> set[str] | None:
    """Return the names of the files that a checkpoint names.

    Returns
    -------
    set of str or None
        Empty if there is no such checkpoint; None if it cannot be read, which is not the same:
        the disk may deliver it the next time.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        found = files_in(with_files(content, tensors_of(checkpoint)))
    except FileNotFoundError:
        return set()
    except UNREADABLE as error:
        log.warning(
            "%s cannot be read (%s); the files in %s are kept until it is replaced",
            checkpoint, type(error).__name__, tensors_of(checkpoint),
        )  # fmt: skip
        return None
    return {file.path.name for file in found}


def with_files(value: Any, folder: Path) -> Any:
    """Return what :meth:`RunDirectory.write_checkpoint` was given: files, where it named them.

    Raises
    ------
    ValueError
        A file's name is none that a :class:`TensorStore` gives: it could be anywhere.
    """
    if isinstance(value, list):
        return [with_files(inner, folder) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {FILE, CHECKSUM}:
        name, checksum = value[FILE], value[CHECKSUM]
        if not (isinstance(name, str) and FILE_NAME.fullmatch(name)):
            raise ValueError(f"{name!r} is no name of a file of tensors")
        return TensorFile(folder / name, str(checksum))
    return {key: with_files(inner, folder) for key, inner in value.items()}


class RunDirectory:
    """Writes the files of a run.

    A file is always replaced as a whole, so that nobody ever reads half a file, even after
    the process was killed. Only ``history.csv`` and ``clients.csv`` grow in place.

    Parameters
    ----------
    path : Path
        The run's directory; it is made if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = TensorStore(tensors_of(self.latest))
        self._goes_on_from: Path | None = None
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)

    @staticmethod
    def history_of(path: Path) -> Path:
        """Return the path of a run's history, one row per round."""
        return path / "history.csv"

    @staticmethod
    def summary_of(path: Path) -> Path:
        """Return the path of a run's final figures."""
        return path / "summary.json"

    @staticmethod
    def clients_of(path: Path) -> Path:
        """Return the path of a run's table with one row per client and round."""
        return path / "clients.csv"

    @staticmethod
    def config_of(path: Path) -> Path:
        """Return the path of a run's resolved configuration."""
        return path / "config.json"

    @staticmethod
    def data_of(path: Path) -> Path:
        """Return the path of what identifies a run's data: columns, rows, a hash."""
        return path / "data.json"

    @classmethod
    def keys_found_in_data(cls, path: Path) -> list[str]:
        """Return the keys of ``config.json`` that the data decided: they were left open."""
        try:
            found = json.loads(cls.data_of(path).read_text(encoding="utf-8"))["found"]
        except (OSError, ValueError, LookupError, TypeError):  # of an earlier version
            return []
        return [key for key in found if isinstance(key, str)]

    @staticmethod
    def client_half_of(path: Path) -> Path:
        """Return the path of a completed run's client half."""
        return path / "client_half.pt"

    @staticmethod
    def server_half_of(path: Path) -> Path:
        """Return the path of a completed run's server half."""
        return path / "server_half.pt"

    @staticmethod
    def federation_of(path: Path) -> Path:
        """Return the path of a simulation's Flower federation options."""
        return path / "federation.json"

    @staticmethod
    def provenance_of(path: Path) -> Path:
        """Return the path of what produced a run: versions, machine, date, command line."""
        return path / "provenance.json"

    @staticmethod
    def tracker_of(path: Path) -> Path:
        """Return the path of the file that names a run's run in its tracker."""
        return path / "tracker.json"

    @staticmethod
    def checkpoint_of(path: Path) -> Path:
        """Return the path of a run's last checkpoint."""
        return path / "checkpoints" / LATEST

    @property
    def latest(self) -> Path:
        """Checkpoint of the last round that wrote one."""
        return self.checkpoint_of(self.path)

    @property
    def previous(self) -> Path:
        """Checkpoint before the last one: what there is when that one is damaged."""
        return self.previous_of(self.latest)

    @staticmethod
    def previous_of(checkpoint: Path) -> Path:
        """Return the path of the checkpoint before a run's last one."""
        return checkpoint.with_name("previous.pt")

    @property
    def best(self) -> Path:
        """Checkpoint of the best round: most accuracy, or else the least loss."""
        return self.path / "checkpoints" / "best.pt"

    @classmethod
    def is_completed_at(cls, path: Path) -> bool:
        """Whether a directory has a run that reached its end."""
        file = cls.summary_of(path)
        return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8"))["completed"])

    @contextmanager
    def reporting_failure(self, *, say: bool = False) -> Iterator[None]:
        """Write a summary if an exception is raised inside, and raise it again.

        ``say``: also in the log, where Flower's traceback follows.
        """
        try:
            yield
        except BaseException as error:
            stopped = is_stop(error)
            status = STOPPED if stopped else f"{type(error).__name__}: {error}"
            if say and stopped:
                log.warning("the run is stopped")
            elif say:
                log.error("the run failed: %s", status)
            so_far = self._summary_so_far()
            if stopped and so_far.get("completed"):  # it ended before it was stopped
                raise
            try:
                self.write_summary({**so_far, "completed": False, "status": status})
            except DiskError as unwritten:
                log.error("its summary does not say so: %s", unwritten)
            raise

    def _summary_so_far(self) -> dict[str, Any]:
        """Return what the summary said of the rounds before the run ended."""
        try:
            found = json.loads(self.summary_of(self.path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(found) if isinstance(found, dict) else {}

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.json``, the resolved configuration."""
        self._write_json(self.config_of(self.path), config)

    def write_data(self, data: Mapping[str, Any] | None) -> None:
        """Write ``data.json``, what identifies the run's data."""
        if data is None:
            self.data_of(self.path).unlink(missing_ok=True)
        else:
            self._write_json(self.data_of(self.path), data)

    def write_provenance(self, found: Mapping[str, Any], *, resumed: bool) -> None:
        """Write ``provenance.json``; a resumed run keeps that of its earlier parts under it."""
        file = self.provenance_of(self.path)
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        more = {"resumes": without_credentials(known)} if resumed and known else {}
        self._write_json(file, {**found, **more})

    def add_provenance(self, found: Mapping[str, Any]) -> None:
        """Add to ``provenance.json`` what became known after it was written."""
        file = self.provenance_of(self.path)
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self._write_json(file, {**known, **found})

    def begin_simulation(self, federation: Mapping[str, float | str], *, resumed: bool) -> None:
        """Write ``federation.json``, and remove what an unfinished run has left here."""
        if not resumed:
            self.history_of(self.path).unlink(missing_ok=True)
            self.clients_of(self.path).unlink(missing_ok=True)
        self.write_summary({"completed": False, "status": "running"})
        self._write_json(self.federation_of(self.path), federation)

    def write_history(
        self,
        rows: Sequence[Mapping[str, Any]],
        clients: Iterable[Mapping[str, Any]],
        client_columns: Iterable[str] | None = None,
    ) -> int:
        """Write the whole history of rounds and clients, as a resumed run does.

        Rows from another version of this package may lack a column, which then stays empty,
        or have an additional one, which is put after ours.

        Parameters
        ----------
        rows : sequence of Mapping
            A row for each round.
        clients : iterable of Mapping
            A row for each client and round; they may be read from the file that they replace.
        client_columns : iterable of str, optional
            All their columns; by default the rows are held in memory and asked.

        Returns
        -------
        int
            The number of the clients' rows.
        """
        if client_columns is None:
            clients = list(clients)
            client_columns = _columns_of(clients)
        count = 0

        def write_clients(path: Path) -> None:
            nonlocal count
            count = self._csv(path, clients, [*CLIENT_COLUMNS, *client_columns])

        columns = [*HISTORY_COLUMNS, *_columns_of(rows)]
        self._replace(self.history_of(self.path), lambda path: self._csv(path, rows, columns))
        self._replace(self.clients_of(self.path), write_clients)
        return count

    def append_history(self, row: dict[str, Any], clients: list[dict[str, Any]]) -> None:
        """Append a round's row and the rows of its clients, in the order of the files' columns."""
        self._append(self.clients_of(self.path), clients)
        self._append(self.history_of(self.path), [row])

    def write_tracked_as(self, tracker: str, run: str) -> None:
        """Write which run of a tracker shows this run; nothing where a tracker names none."""
        if run:
            self._write_json(self.tracker_of(self.path), {"tracker": tracker, "run": run})

    def tracked_as(self, tracker: str) -> str:
        """Return which run of a tracker shows this run; empty if none is known."""
        try:
            known = json.loads(self.tracker_of(self.path).read_text(encoding="utf-8"))
            return str(known["run"]) if known["tracker"] == tracker else ""
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``."""
        self._write_json(self.summary_of(self.path), summary)

    def write_checkpoint(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a checkpoint that :func:`fsl_sage_flwr.app.checkpoint.read_checkpoint` can read.

        What the state has in files stays there: the checkpoint names them. So it costs what has
        changed since the one before, and checkpoints share what is the same in them. What
        ``latest`` was becomes ``previous``. The rows of ``clients.csv`` that it counts are on the
        disk before it is.

        Raises
        ------
        DiskError
            It cannot be written; those of before stay.
        """
        clients = self.clients_of(self.path)
        if clients.is_file():
            with writing(clients):
                sync(clients)
        taken = {file.path: self.tensors.take(file) for file in files_in(dict(state))}
        names = {file.path.name for file in taken.values()}
        checksums = self.tensors.sync(names)

        def named(file: TensorFile) -> dict[str, str]:
            name = taken[file.path].path.name
            return {FILE: name, CHECKSUM: checksums[name]}

        with replacing(path) as unfinished:
            write_sealed(unfinished, map_files(dict(state), named))
            if path == self.latest:
                self._keep_previous()
        self.tensors.need(path.name, names)

    def go_on_from(self, checkpoint: Path | None) -> None:
        """Note which checkpoint the run goes on from, and which files those that are there need.

        Only a checkpoint that the run goes on from, or has written itself, is kept as the one
        before the next: another may be damaged, or of a run that was given up.
        """
        self._goes_on_from = checkpoint.resolve() if checkpoint else None
        for file in (self.latest, self.previous, self.best):
            self.tensors.need(file.name, names_in(file))

    def _keep_previous(self) -> None:
        """Make ``latest`` the checkpoint before the one that is about to take its place."""
        before, self._goes_on_from = self._goes_on_from, self.latest.resolve()
        if before == self._goes_on_from:
            with replacing(self.previous) as unfinished:
                link_or_copy(self.latest, unfinished)
            self.tensors.need(self.previous.name, self.tensors.needed_by(self.latest.name))
        elif before != self.previous.resolve():
            self.previous.unlink(missing_ok=True)
            self.tensors.need(self.previous.name, ())

    def write_models(
        self,
        client: Mapping[str, torch.Tensor],
        server: Mapping[str, torch.Tensor],
        whole: Mapping[str, torch.Tensor],
    ) -> None:
        """Write both halves and the whole model as plain state_dicts."""
        for name, tensors in (
            ("client_half", client),
            ("server_half", server),
            ("full_model", whole),
        ):
            on_cpu = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
            with (
                replacing(self.path / f"{name}.pt") as unfinished,
                unfinished.open("wb") as file,
            ):
                torch.save(on_cpu, file)

    @staticmethod
    def _csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> int:
        """Write a table; return its number of rows."""
        count = 0
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(columns)))
            writer.writeheader()
            for row in rows:
                writer.writerow(row)
                count += 1
        return count

    def _append(self, path: Path, rows: list[dict[str, Any]]) -> None:
        """Append rows in the order of the file's header; put new columns at the end.

        Rows that the disk does not take are not there at all.
        """
        with writing(path), path.open("r+", newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            if set[str]().union(*rows).issubset(header):
                end = file.seek(0, os.SEEK_END)
                try:
                    csv.DictWriter(file, header).writerows(rows)
                    file.flush()
                except OSError:
                    os.truncate(path, end)
                    raise
                return
            every = [*reader, *rows]
        columns = [*header, *_columns_of(rows)]
        self._replace(path, lambda unfinished: self._csv(unfinished, every, columns))

    def _write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, indent=2) + "\n"
        self._replace(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))

    @staticmethod
    def _replace(path: Path, write: Callable[[Path], object]) -> None:
        with replacing(path) as unfinished:
            write(unfinished)


def _columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))
