"""Write the files of a run's directory; this module defines all paths in it."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import DiskError, atomic_write
from .csv_tables import CLIENT_COLUMNS, HISTORY_COLUMNS, append_rows, columns_in, write_table
from .provenance import without_credentials

if TYPE_CHECKING:  # tables of results read no tensors
    import torch

log = logging.getLogger("flwr.fsl_sage")

LATEST = "latest.pt"
# Of a run's directory, in its marker.
FORMAT = 1
# Status of a run that was stopped in an orderly way: `flwr stop`, SIGTERM, Ctrl-C.
STOPPED = "interrupted"


def is_stop(error: BaseException) -> bool:
    """Return whether an exception means that the run was stopped in an orderly way."""
    if isinstance(error, SystemExit):
        return not error.code  # Flower's signal handler exits with 0
    return isinstance(error, KeyboardInterrupt)


class RunDirectory:
    """Writes the files of a run.

    Files are replaced atomically, so that a killed process leaves no incomplete file. Only
    ``history.csv`` and ``clients.csv`` grow in place.

    Parameters
    ----------
    path : Path
        The run's directory, created if it is missing.

    Attributes
    ----------
    checkpoints : CheckpointFiles
        The run's checkpoints.
    """

    def __init__(self, path: Path) -> None:
        from .checkpoint_files import CheckpointFiles

        self.path = path
        self.checkpoints = CheckpointFiles(self.checkpoint_of(path), self.clients_of(path))

    @staticmethod
    def marker_of(path: Path) -> Path:
        """Return the path of the file that marks a run's directory, with its format."""
        return path / "fsl-sage-run.json"

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
        """Return the path of the identity of a run's data: columns, rows, a hash."""
        return path / "data.json"

    @staticmethod
    def flops_of(path: Path) -> Path:
        """Return the path of the floating-point operations of a sample in each half."""
        return path / "flops.json"

    @staticmethod
    def unused_keys_of(path: Path) -> Path:
        """Return the path of the keys without effect in a run, each with the key that is why."""
        return path / "unused_keys.json"

    @classmethod
    def keys_found_in_data(cls, path: Path) -> list[str]:
        """Return the keys of ``config.json`` that were left to defaults derived from the data."""
        try:
            found = json.loads(cls.data_of(path).read_text(encoding="utf-8"))["found"]
        except (OSError, ValueError, LookupError, TypeError):  # an earlier version's run
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
        """Return the path of a run's provenance: versions, machine, date, command line."""
        return path / "provenance.json"

    @staticmethod
    def tracker_of(path: Path) -> Path:
        """Return the path of the file with the run's id in its tracker."""
        return path / "tracker.json"

    @staticmethod
    def checkpoint_of(path: Path) -> Path:
        """Return the path of a run's last checkpoint."""
        return path / "checkpoints" / LATEST

    @classmethod
    def is_completed_at(cls, path: Path) -> bool:
        """Return whether a directory has a completed run."""
        file = cls.summary_of(path)
        return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8"))["completed"])

    @contextmanager
    def record_failure(self, *, log_error: bool = False) -> Iterator[None]:
        """Write a summary if an exception is raised inside the context, and raise it again.

        ``log_error`` also logs it, before Flower's traceback.
        """
        try:
            yield
        except BaseException as error:
            stopped = is_stop(error)
            status = STOPPED if stopped else f"{type(error).__name__}: {error}"
            if log_error and stopped:
                log.warning("the run is stopped")
            elif log_error:
                log.error("the run failed: %s", status)
            so_far = self._summary_so_far()
            if stopped and so_far.get("completed"):  # it ended before it was stopped
                raise
            try:
                self.write_summary({**so_far, "completed": False, "status": status})
            except DiskError as unwritten:
                log.error("its summary could not be updated: %s", unwritten)
            raise

    def _summary_so_far(self) -> dict[str, Any]:
        """Return the summary of the rounds before the run ended."""
        try:
            found = json.loads(self.summary_of(self.path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(found) if isinstance(found, dict) else {}

    def write_unused_keys(self, unused: Mapping[str, str]) -> None:
        """Write ``unused_keys.json``: tables of results need it to tell settings that differ."""
        _write_json(self.unused_keys_of(self.path), unused)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.json``, the resolved configuration."""
        _write_json(self.config_of(self.path), config)

    def write_flops(self, flops: Mapping[str, int]) -> None:
        """Write ``flops.json``, the floating-point operations of one sample's forward passes."""
        _write_json(self.flops_of(self.path), flops)

    def write_data(self, data: Mapping[str, Any] | None) -> None:
        """Write ``data.json``, the identity of the run's data, or remove it if there is none."""
        if data is None:
            self.data_of(self.path).unlink(missing_ok=True)
        else:
            _write_json(self.data_of(self.path), data)

    def write_provenance(self, found: Mapping[str, Any], *, resumed: bool) -> None:
        """Write ``provenance.json``; a resumed run nests the provenance of its earlier parts."""
        file = self.provenance_of(self.path)
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        more = {"resumes": without_credentials(known)} if resumed and known else {}
        _write_json(file, {**found, **more})

    def add_provenance(self, found: Mapping[str, Any]) -> None:
        """Add entries to ``provenance.json``."""
        file = self.provenance_of(self.path)
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        _write_json(file, {**known, **found})

    def begin_simulation(self, federation: Mapping[str, float | str], *, resumed: bool) -> None:
        """Write ``federation.json``, and remove the tables of an unfinished run."""
        if not resumed:
            self.history_of(self.path).unlink(missing_ok=True)
            self.clients_of(self.path).unlink(missing_ok=True)
        self.write_summary({"completed": False, "status": "running"})
        _write_json(self.federation_of(self.path), federation)

    def write_history(
        self,
        rows: Sequence[Mapping[str, Any]],
        clients: Iterable[Mapping[str, Any]],
        client_columns: Iterable[str] | None = None,
    ) -> int:
        """Write the complete history of rounds and clients, as a resumed run does.

        Rows from another version of this package may lack a column, which then stays empty, or
        have an additional one, which comes last.

        Parameters
        ----------
        rows : sequence of Mapping
            A row per round.
        clients : iterable of Mapping
            A row per client and round; may be read from the file that is replaced.
        client_columns : iterable of str, optional
            All columns of ``clients``; by default the rows are read into memory to find them.

        Returns
        -------
        int
            Number of the clients' rows.
        """
        if client_columns is None:
            clients = list(clients)
            client_columns = columns_in(clients)
        write_table(self.history_of(self.path), rows, [*HISTORY_COLUMNS, *columns_in(rows)])
        return write_table(self.clients_of(self.path), clients, [*CLIENT_COLUMNS, *client_columns])

    def append_history(self, row: dict[str, Any], clients: list[dict[str, Any]]) -> None:
        """Append a round's row and the rows of its clients."""
        append_rows(self.clients_of(self.path), clients)
        append_rows(self.history_of(self.path), [row])

    def write_tracked_as(self, tracker: str, run: str) -> None:
        """Write the run's id in its tracker; write nothing if it has no id."""
        if run:
            _write_json(self.tracker_of(self.path), {"tracker": tracker, "run": run})

    def tracked_as(self, tracker: str) -> str:
        """Return the run's id in a tracker; empty if unknown."""
        try:
            known = json.loads(self.tracker_of(self.path).read_text(encoding="utf-8"))
            return str(known["run"]) if known["tracker"] == tracker else ""
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``, and first the marker of a run's directory."""
        if not (marker := self.marker_of(self.path)).is_file():
            _write_json(marker, {"format": FORMAT})
        _write_json(self.summary_of(self.path), summary)

    def write_models(
        self,
        client: "Mapping[str, torch.Tensor]",
        server: "Mapping[str, torch.Tensor]",
        whole: "Mapping[str, torch.Tensor]",
    ) -> None:
        """Write both halves and the whole model as plain state_dicts."""
        import torch

        for name, tensors in (
            ("client_half", client),
            ("server_half", server),
            ("full_model", whole),
        ):
            on_cpu = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
            with (
                atomic_write(self.path / f"{name}.pt") as unfinished,
                unfinished.open("wb") as file,
            ):
                torch.save(on_cpu, file)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2) + "\n"
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
