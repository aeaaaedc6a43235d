"""Evaluate, record and save each round."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from ..registry import algorithm_of
from ..rounds.clients.farewell import remove_client_files
from ..rounds.metrics.client_round import ClientRound
from ..splitting import Evaluation
from ..strategies import (
    DeadActorError,
    DivergedError,
    SplitStrategy,
    TrainingFailedError,
    to_record,
)
from ..task import Batch, Weights
from .checkpoint import (
    FORMAT,
    read_checkpoint,
    refuse_finished,
    refuse_other_settings,
    refusing_what_does_not_fit,
)
from .client_rows import columns_of, first_rows
from .log_lines import show_times
from .privacy_account import PrivacyAccount
from .provenance import of_flower_run, of_this_process, started_by_command
from .quiet import without_empty_evaluations
from .results import RunDirectory
from .run_lock import held_for_training
from .trackers import Tracker, open_tracker, require

log = logging.getLogger("flwr.fsl_sage")

Setting = bool | int | float | str


class EnoughCommunicationError(Exception):
    """The communication has reached ``max-communication-mib``, so the run is complete.

    Only an exception can end Flower's round loop early. ``arrays`` is the last round's average.
    """

    def __init__(self, arrays: ArrayRecord) -> None:
        super().__init__("max-communication-mib is reached")
        self.arrays = arrays


def settings_of(strategy: SplitStrategy) -> dict[str, Setting]:
    """Return what tables and pictures call a run of somebody's own model by."""
    task = strategy.task
    return {
        "algorithm": algorithm_of(strategy), "model": "own", "dataset": "own",
        "distribution": "own", "seed": task.seed, "cut": task.model.cut,
        "local-epochs": task.local_epochs,
    }  # fmt: skip


class Recorder:
    """Trains with a strategy, and writes what a run of this package leaves.

    That is the history of every round and client, checkpoints, a summary, the trained models and
    what produced them: ``fsl-sage results``, ``plot`` and ``report`` read it.

    Parameters
    ----------
    strategy : SplitStrategy
        Is started, and saved after every round.
    directory : Path or str
        Where the files are written; it is made.
    test_batches : callable
        Returns the batches of the test split.
    settings : Mapping, optional
        Written to ``config.json`` and into checkpoints. Tables and pictures call a run by its
        ``algorithm``, ``model``, ``dataset``, ``distribution`` and ``seed``; what is not given
        of these is taken from the strategy and its task, or is ``own``.
    tracker : str
        Also shows the rounds there; see :mod:`fsl_sage_flwr.app.trackers`.
    checkpoint_interval : int
        Rounds between two checkpoints; 0: none is written.
    max_communication_mib : float
        MiB after which the run is complete; 0: none.
    finish : callable, optional
        From the trained weights and the directory to more figures for the summary; it writes
        what a completed run leaves. By default both halves and the merged model are written.
    account : PrivacyAccount, optional
        Of the noise that the clients put on smashed data: the columns ``epsilon``.
    label_epsilon : float
        ε of the randomised response of the clients' labels, which they draw again when a run is
        resumed: the column ``epsilon_of_labels`` adds these up; 0: there is none.
    data : Mapping, optional
        What identifies the data; written to ``data.json`` and into checkpoints.

    Examples
    --------
    >>> recorder = Recorder(strategy, "results/mine", lambda: test_batches)
    >>> result = recorder.train(grid, num_rounds=20)
    """

    def __init__(
        self,
        strategy: SplitStrategy,
        directory: Path | str,
        test_batches: Callable[[], Iterable[Batch]],
        *,
        settings: Mapping[str, Setting] | None = None,
        tracker: str = "",
        checkpoint_interval: int = 1,
        max_communication_mib: float = 0.0,
        finish: Callable[[Weights, Path], Mapping[str, float]] | None = None,
        account: PrivacyAccount | None = None,
        label_epsilon: float = 0.0,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        require(tracker)
        self._strategy = strategy
        self._directory = RunDirectory(Path(directory).expanduser())
        self._test_batches = test_batches
        self._settings = {**settings_of(strategy), **(settings or {})}
        self._tracker_name, self._tracker = tracker, Tracker()
        self._checkpoint_interval = checkpoint_interval
        self._threshold = max_communication_mib * 2**20
        self._finish, self._account = finish, account
        self._label_epsilon, self._spent_on_labels = label_epsilon, label_epsilon
        self._data = data
        self._figures: Mapping[str, float] = {}
        self._rows: list[dict[str, Any]] = []
        self._client_rows = 0
        self._arrays: ArrayRecord | None = None
        self._bytes_before = strategy.ledger.by_kind()
        self._began = time.perf_counter()
        self._round_began = self._began
        self._num_rounds = self._resumed_after = 0
        self._completed = False
        self._unsaved = True  # the model as it is is in no checkpoint

    def train(
        self,
        grid: Grid,
        num_rounds: int,
        *,
        timeout: float = 3600.0,
        resume: Path | str | None = None,
        replace_unfinished: bool = False,
    ) -> Result:
        """Train until ``num_rounds`` rounds are done in all.

        Parameters
        ----------
        grid : Grid
            Flower's.
        num_rounds : int
            With those before, if a run goes on.
        timeout : float
            Flower's argument: seconds for the answers of a round.
        resume : Path or str, optional
            A checkpoint to resume from, or the directory of a run, whose last checkpoint is taken;
            None or an empty text begins anew.
        replace_unfinished : bool
            Begin anew where another run was interrupted; what it left is lost.

        Returns
        -------
        Result
            Flower's; ``arrays`` has the averaged client half.

        Raises
        ------
        FileExistsError
            The directory has a run that is completed, or unfinished, and is not resumed.
        CheckpointError
            The checkpoint is missing or unreadable, has other settings, or enough rounds.
        DirectoryInUseError
            Another run is at work in the directory.
        """
        with held_for_training(self._directory.path):
            return self._train_alone(
                grid, num_rounds, timeout, resume=resume, replace_unfinished=replace_unfinished
            )

    def _train_alone(
        self,
        grid: Grid,
        num_rounds: int,
        timeout: float,
        *,
        resume: Path | str | None,
        replace_unfinished: bool,
    ) -> Result:
        self._settings |= {"num-server-rounds": num_rounds}
        if resume:
            named = Path(resume).expanduser()
            file = RunDirectory.checkpoint_of(named) if named.is_dir() else named
            if self._directory.path.resolve() not in file.resolve().parents:
                self._refuse_taken(replace_unfinished=replace_unfinished)
            saved = read_checkpoint(file)
            refuse_other_settings(saved, self._settings, {"num-server-rounds"})
            refuse_finished(saved, file, num_rounds)
            return self.train_held(grid, num_rounds, saved, timeout=timeout)
        self._refuse_taken(replace_unfinished=replace_unfinished)
        return self.train_held(grid, num_rounds, None, timeout=timeout)

    def _refuse_taken(self, *, replace_unfinished: bool) -> None:
        """Refuse to overwrite a run that is completed, or that has a checkpoint."""
        path, latest = self._directory.path, self._directory.latest
        completed = self._directory.is_completed_at(path)
        if completed or (latest.is_file() and not replace_unfinished):
            kind, how = ("a completed", " and more rounds") if completed else ("an unfinished", "")
            raise FileExistsError(
                f"{path} has {kind} run already; name another directory, or give "
                f"resume={str(latest)!r}{how}"
            )

    def train_held(
        self, grid: Grid, num_rounds: int, saved: Mapping[str, Any] | None, *, timeout: float
    ) -> Result:
        """Train in a directory that the caller holds already, and has looked at.

        ``saved`` is a checkpoint that was read, whatever settings it has; None begins anew.
        """
        self._directory.go_on_from(saved["file"] if saved else None)
        self._strategy.keep_files_in(self._directory.tensors)
        self._unsaved = saved is None or saved["file"] != self._directory.latest
        if saved is None:
            return self._train(grid, num_rounds, self._strategy.initial_arrays(), timeout, None)
        with self._directory.reporting_failure(say=True), refusing_what_does_not_fit(saved):
            self._strategy.load_state_dict(saved["strategy"])
            arrays = ArrayRecord(saved["client_half"])
        self._rows = list(saved["history"])
        self._resumed_after = self._rows[-1]["round"] if self._rows else 0
        self._bytes_before = self._strategy.ledger.by_kind()
        before = self._rows[-1]["epsilon_of_labels"] if self._rows else None
        self._spent_on_labels = (before or 0.0) + self._label_epsilon
        coded = not self._strategy.downlink.compression.is_none
        log.warning(
            "resumed after round %d; the clients' optimizer states%s are not in a checkpoint "
            "and start anew",
            self._strategy.rounds_done,
            ", and what their codes have lost," if coded else "",
        )
        return self._train(grid, num_rounds, arrays, timeout, saved)

    def _train(
        self,
        grid: Grid,
        num_rounds: int,
        arrays: ArrayRecord,
        timeout: float,
        saved: Mapping[str, Any] | None,
    ) -> Result:
        self._num_rounds, directory = num_rounds, self._directory
        with (
            directory.reporting_failure(say=True),
            without_empty_evaluations(),
            open_tracker(
                self._tracker_name,
                directory.path,
                self._settings,
                directory.tracked_as(self._tracker_name) if self._rows else "",
            ) as self._tracker,
        ):
            self._begin(saved)
            directory.add_provenance(_of_run(grid))
            try:
                result: Result = self._strategy.start(
                    grid=grid,
                    initial_arrays=arrays,
                    num_rounds=num_rounds - self._strategy.rounds_done,
                    timeout=timeout,
                    evaluate_fn=self.end_round,
                )
            except EnoughCommunicationError as enough:
                self._strategy.refuse_untrained()
                result = Result(arrays=enough.arrays)
            except DeadActorError:
                self._save_last_good()
                raise
            except (DivergedError, TrainingFailedError) as error:
                if isinstance(error, DivergedError):
                    self._save_last_good()
                remove_client_files(self._strategy.wrap_grid(grid))
                raise
            remove_client_files(self._strategy.wrap_grid(grid))
            self._complete(result.arrays or arrays)
        return result

    def _begin(self, saved: Mapping[str, Any] | None) -> None:
        """Write the configuration, and the earlier history if the run is resumed."""
        show_times()
        self._directory.tensors.remove_leftovers()
        if not started_by_command():
            self._directory.write_provenance(of_this_process(), resumed=bool(self._rows))
        self._directory.write_config(self._settings)
        self._directory.write_data(self._data)
        self._write_earlier_history(saved)
        self._directory.write_tracked_as(self._tracker_name, self._tracker.run)
        if not self._tracker.has_earlier_rows:
            for row in self._rows:
                self._tracker.log(row)
        self._write_summary("running")

    def _write_earlier_history(self, saved: Mapping[str, Any] | None) -> None:
        """Write both tables as a checkpoint has them: its rounds, and the rows of their clients."""
        if saved is None or isinstance(saved["clients"], list):
            clients = saved["clients"] if saved else []  # the rows: of an earlier version
            self._client_rows = self._directory.write_history(self._rows, clients)
            return
        counted: int = saved["clients"]
        file = RunDirectory.clients_of(saved["file"].parent.parent)
        rows = first_rows(file, counted, self._strategy.rounds_done)
        self._client_rows = self._directory.write_history(self._rows, rows, columns_of(file))
        if self._client_rows < counted:
            log.warning(
                "%s has %d of the %d rows that the checkpoint counts; the new clients.csv lacks "
                "the others, and nothing else depends on them",
                file, self._client_rows, counted,
            )  # fmt: skip

    def end_round(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Evaluate centrally, write the round's row, and save a checkpoint.

        Raises
        ------
        EnoughCommunicationError
            The communication has reached ``max-communication-mib``; the round is recorded.
        """
        self._arrays = arrays
        if server_round == 0:
            self._round_began = time.perf_counter()
            return None
        self._strategy.take_late_replies()
        before_test = time.perf_counter()
        evaluation = self._strategy.evaluate(arrays, self._test_batches)
        now = time.perf_counter()
        row = self._row(evaluation)
        row["evaluation_seconds"] = round(now - before_test, 3)
        row["seconds"] = round(now - self._round_began, 3)
        self._round_began = now
        given_up = self._strategy.last_round.given_up
        self._unsaved |= not given_up
        merit = self._merit(row)
        is_best = (
            not given_up
            and merit > -math.inf
            and all(merit > self._merit(other) for other in self._rows)
        )
        self._rows.append(row)
        clients = [self._client_row(client) for client in self._strategy.client_rounds()]
        self._client_rows += len(clients)
        self._directory.append_history(row, clients)
        self._tracker.log(row)
        self._log(row)
        self._save(arrays, is_best=is_best)
        self._write_summary("running")
        if self._threshold and self._strategy.ledger.total >= self._threshold:
            log.info("%.1f MiB reach max-communication-mib", self._strategy.ledger.total / 2**20)
            raise EnoughCommunicationError(arrays)
        return to_record(evaluation, "test")

    def _complete(self, arrays: ArrayRecord) -> None:
        """Write the models and the summary of a run that reached its end."""
        client, server = self._strategy.model_state(arrays)
        whole = self._strategy.task.model.joined(client, server)
        if self._finish is None:
            self._directory.write_models(client, server, whole)
        else:
            self._figures = self._finish(whole, self._directory.path)
        if self._account is not None:
            uploads = self._strategy.sample_uploads.largest
            log.info("privacy: %s", self._account.in_words(uploads))
        if self._label_epsilon:
            log.info("privacy: epsilon = %g for each label", self._spent_on_labels)
        if owed := self._strategy.take_late_replies():
            log.info("%d replies had not come when the run ended: their bytes are in no row", owed)
        # Before the summary, because a process that waits for the summary may end this one.
        self._tracker.close(completed=True)
        self._completed = True
        self._write_summary("completed")

    @staticmethod
    def _merit(row: Mapping[str, Any]) -> float:
        """Return what the best round has most of: accuracy, or else less loss; NaN is worst."""
        accuracy, loss = row["test_accuracy"], row["test_loss"]
        merit = float(-loss if accuracy is None else accuracy)
        return -math.inf if math.isnan(merit) else merit

    def _row(self, evaluation: Evaluation) -> dict[str, Any]:
        summary, ledger = self._strategy.last_round, self._strategy.ledger
        bytes_now, validation = ledger.by_kind(), summary.validation
        this_round = {key: bytes_now[key] - self._bytes_before[key] for key in bytes_now}
        self._bytes_before = bytes_now
        return {
            "round": summary.round,
            "test_accuracy": _accuracy(evaluation),
            "test_loss": evaluation.loss,
            "validation_accuracy": _accuracy(validation),
            "validation_loss": validation.loss if validation else None,
            "train_loss": summary.train_loss,
            "comm_bytes": ledger.total,
            "comm_bytes_reference": ledger.reference_total,
            "comm_bytes_ratio": round(ledger.reference_total / ledger.total, 4)
            if ledger.total
            else None,
            **this_round,
            "client_seconds": round(summary.client_seconds, 3),
            "client_step_seconds": round(summary.client_step_seconds, 3),
            "server_seconds": round(summary.server_seconds, 3),
            "alignment_seconds": round(summary.alignment_seconds, 3),
            "alignment_cosine": summary.alignment_cosine,
            "alignment_relative_error": summary.alignment_relative_error,
            "epsilon": self._epsilon(self._strategy.sample_uploads.largest),
            "epsilon_of_labels": self._spent_on_labels or None,
            "clients": summary.clients,
            "failures": len(summary.failures),
            **self._other_scores("test", evaluation),
            **(self._other_scores("validation", validation) if validation else {}),
        }

    def _client_row(self, client: ClientRound) -> dict[str, Any]:
        row = asdict(client)
        if self._account is not None:
            row["round_epsilon"] = self._epsilon(client.sample_uploads)
            row["epsilon"] = self._epsilon(client.total_sample_uploads)
        return row

    def _epsilon(self, uploads: int) -> float | None:
        return None if self._account is None else round(self._account.epsilon(uploads), 4)

    def _other_scores(self, prefix: str, evaluation: Evaluation) -> dict[str, float | None]:
        """Return what the objective reports beside loss and accuracy, by column."""
        found = self._strategy.task.objective.figures(evaluation.loss, evaluation.scores)
        found.pop("accuracy", None)
        absent = {name for name, value in found.items() if math.isnan(value)}
        return {f"{prefix}_{n}": None if n in absent else value for n, value in found.items()}

    def _log(self, row: dict[str, Any]) -> None:
        accuracy = row["test_accuracy"]
        log.info(
            "round %d/%d: %sloss %.4f, %.1f MiB so far, %.1f s",
            row["round"], self._num_rounds,
            "" if accuracy is None else f"accuracy {accuracy:.2%}, ".replace("%", " %"),
            row["test_loss"], row["comm_bytes"] / 2**20, row["seconds"],
        )  # fmt: skip

    def _save(self, arrays: ArrayRecord, *, is_best: bool) -> None:
        """Write the checkpoints that are due.

        A round that was given up is no reason for one, as it leaves the model as it was: should
        the run fail because of what is in the last checkpoint, the one before is still there.
        What such a round spent of the clients' privacy is one.
        """
        interval, done = self._checkpoint_interval, self._rows[-1]["round"]
        if interval == 0:
            return
        # Further rounds may be given up, and end the run.
        given_up = self._strategy.last_round.given_up
        due = done == self._num_rounds or given_up or done % interval == 0
        due = due and (self._unsaved or self._account is not None)
        if not (is_best or due):
            return
        state = self._state(arrays)
        if due:
            self._directory.write_checkpoint(self._directory.latest, state)
            self._unsaved = False
        if is_best:
            self._directory.write_checkpoint(self._directory.best, state)

    def _state(self, arrays: ArrayRecord) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": self._settings,
            "strategy": self._strategy.state_dict(),
            "client_half": dict(arrays.to_torch_state_dict()),
            "history": self._rows,
            "clients": self._client_rows,
            **({"data": dict(self._data)} if self._data is not None else {}),
        }

    def _save_last_good(self) -> None:
        """Save the state after the last round, when training cannot continue.

        If a round was trained but not recorded, nothing is saved and the last checkpoint
        stays valid.
        """
        recorded = self._rows[-1]["round"] if self._rows else 0
        is_recorded = self._strategy.rounds_done == recorded
        if self._arrays is not None and is_recorded and self._unsaved:
            self._directory.write_checkpoint(self._directory.latest, self._state(self._arrays))

    def _write_summary(self, status: str) -> None:
        best = max(self._rows, key=self._merit, default={})
        last = self._rows[-1] if self._rows else {}
        self._directory.write_summary(
            {
                "completed": self._completed,
                "status": status,
                "resumed_after": self._resumed_after,
                "rounds": last.get("round", 0),
                "final_accuracy": last.get("test_accuracy"),
                "final_loss": last.get("test_loss"),
                "best_accuracy": best.get("test_accuracy"),
                "best_loss": best.get("test_loss"),
                "best_round": best.get("round"),
                "comm_bytes": last.get("comm_bytes", 0),
                "comm_bytes_reference": last.get("comm_bytes_reference", 0),
                "epsilon": last.get("epsilon"),
                "epsilon_of_labels": last.get("epsilon_of_labels"),
                "delta": None if self._account is None else self._account.delta,
                "auxiliary_parameters": self._strategy.auxiliary_parameters,
                "seconds": round(time.perf_counter() - self._began, 3),
                "figures": dict(self._figures),
            }
        )


def _of_run(grid: Grid) -> dict[str, str]:
    try:
        return of_flower_run(grid.run)
    except NotImplementedError:  # a Grid outside of a run
        return {}


def _accuracy(evaluation: Evaluation | None) -> float | None:
    """Return the share of labels that got the highest score, if the objective reports it."""
    score = evaluation.scores.get("accuracy") if evaluation else None
    return score.value if score else None
