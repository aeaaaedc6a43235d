"""Train with a strategy, and evaluate, record and save each round."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from ..algorithm_registry import algorithm_of
from ..rounds.clients.farewell import remove_client_files
from ..rounds.grid.passing_time import KeepsTime
from ..strategies import (
    DeadActorError,
    DivergedError,
    SplitStrategy,
    TrainingFailedError,
    to_record,
)
from ..task import Batch, Weights
from ..units import mib, percent
from .budget import Budget
from .checkpoint import explain_mismatch, read_checkpoint, refuse_finished, refuse_other_settings
from .checkpointing import Checkpointing
from .directory import RunDirectory
from .flops import flops_of
from .history import RunHistory
from .lock import training_lock
from .log_lines import show_times, without_empty_evaluations
from .privacy_account import PrivacyAccount
from .provenance import of_flower_run, of_this_process, started_by_command
from .round_rows import summary_figures
from .trackers import Tracker, open_tracker, require
from .virtual_time import TimedRounds, VirtualTime

log = logging.getLogger("flwr.fsl_sage")

Setting = bool | int | float | str


class BudgetReachedError(Exception):
    """The run has reached its target or spent its budget, so it is complete.

    Only an exception can end Flower's round loop early. ``arrays`` is the last round's average.
    """

    def __init__(self, reason: str, arrays: ArrayRecord) -> None:
        super().__init__(reason)
        self.arrays = arrays


def settings_of(strategy: SplitStrategy) -> dict[str, Setting]:
    """Return the default settings of a run with a custom model, for tables and pictures."""
    task = strategy.task
    return {
        "algorithm": algorithm_of(strategy), "model": "own", "dataset": "own",
        "distribution": "own", "seed": task.seed, "cut": task.model.cut,
        "local-epochs": task.local_epochs,
    }  # fmt: skip


class Recorder:
    """Trains with a strategy, and writes a run's files.

    These are the history of all rounds and clients, checkpoints, a summary, the trained models and
    the provenance: ``fsl-sage results``, ``plot`` and ``report`` read them.

    Parameters
    ----------
    strategy : SplitStrategy
        Strategy to train with; its state is saved after every round.
    directory : Path or str
        Directory of the files, created if it is missing.
    test_batches : callable
        Returns the batches of the test split.
    settings : Mapping, optional
        Written to ``config.json`` and into checkpoints. Tables and pictures identify a run by its
        ``algorithm``, ``model``, ``dataset``, ``distribution`` and ``seed``; those not given come
        from the strategy and its task, or are ``own``.
    tracker : str
        Also show the rounds in this tracker; see :mod:`fsl_sage_flwr.runs.trackers`.
    checkpoint_interval : int
        Rounds between two checkpoints; 0 disables checkpoints.
    max_communication_mib : float
        MiB of communication after which the run is complete; 0 disables the limit.
    finish : callable, optional
        Writes a completed run's models, from the trained weights and the directory, and returns
        more figures for the summary. By default both halves and the merged model are written.
    account : PrivacyAccount, optional
        Account of the clients' noise on smashed data, for the columns ``epsilon``.
    label_epsilon : float
        ε of the randomised response of the clients' labels, drawn again when a run resumes; the
        column ``epsilon_of_labels`` is their sum. 0 disables it.
    data : Mapping, optional
        Identity of the data, written to ``data.json`` and into checkpoints.
    budget : Budget, optional
        Further limits after which the run is complete.
    clock : VirtualTime, optional
        Devices and links, for the columns ``virtual_seconds`` and ``virtual_client_joules``.

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
        budget: Budget | None = None,
        clock: VirtualTime | None = None,
    ) -> None:
        require(tracker)
        self._strategy = strategy
        self._directory = RunDirectory(Path(directory).expanduser())
        self._test_batches = test_batches
        self._settings = {**settings_of(strategy), **(settings or {})}
        self._tracker_name, self._tracker = tracker, Tracker()
        self._budget = replace(budget or Budget(), communication_mib=max_communication_mib)
        self._clock, self._data = clock, data
        self._finish, self._account = finish, account
        self._label_epsilon = label_epsilon
        self._history = RunHistory(strategy, self._directory, account, label_epsilon)
        self._checkpointing = Checkpointing(
            self._directory.checkpoints,
            strategy,
            self._history,
            self._settings,
            data,
            interval=checkpoint_interval,
            after_failed_rounds=account is not None,
        )
        self._figures: Mapping[str, float] = {}
        self._began = time.perf_counter()
        self._round_began = self._began
        self._num_rounds = self._resumed_after = 0
        self._completed = False

    def train(
        self,
        grid: Grid,
        num_rounds: int,
        *,
        timeout: float = 3600.0,
        resume: Path | str | None = None,
        replace_unfinished: bool = False,
    ) -> Result:
        """Train until ``num_rounds`` rounds are done in total.

        Parameters
        ----------
        grid : Grid
            Flower's Grid.
        num_rounds : int
            Number of rounds, including those before a resumed checkpoint.
        timeout : float
            Flower's time limit for the replies of a round, in seconds.
        resume : Path or str, optional
            Checkpoint to resume from, or the directory of a run, for its last checkpoint; None or
            an empty text starts anew.
        replace_unfinished : bool
            Replace an interrupted run in the directory; its files are lost.

        Returns
        -------
        Result
            Flower's result; ``arrays`` has the averaged client half.

        Raises
        ------
        FileExistsError
            The directory has a completed or unfinished run that is not resumed.
        CheckpointError
            The checkpoint is missing or unreadable, has other settings, or enough rounds.
        DirectoryInUseError
            Another run is active in the directory.
        """
        with training_lock(self._directory.path):
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
        self._settings["num-server-rounds"] = num_rounds
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
        """Refuse to overwrite a run that is completed or has a checkpoint."""
        path, latest = self._directory.path, self._directory.checkpoints.latest
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
        """Train in a directory that the caller has locked and checked.

        ``saved`` is the content of a checkpoint, with any settings; None starts anew.
        """
        self._checkpointing.begin(saved)
        if saved is None:
            return self._train(grid, num_rounds, self._strategy.initial_arrays(), timeout, None)
        with self._directory.record_failure(log_error=True), explain_mismatch(saved):
            self._strategy.load_state_dict(saved["strategy"])
            arrays = ArrayRecord(saved["client_half"])
        self._history.resume(saved)
        self._resumed_after = self._history.last_round
        coded = not self._strategy.downlink.compression.is_none
        log.warning(
            "resumed after round %d; checkpoints do not contain the clients' optimizer states%s, "
            "which start anew",
            self._strategy.rounds_done,
            " and codec residuals" if coded else "",
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
            directory.record_failure(log_error=True),
            without_empty_evaluations(),
            open_tracker(
                self._tracker_name,
                directory.path,
                self._settings,
                directory.tracked_as(self._tracker_name) if self._history.rows else "",
            ) as self._tracker,
        ):
            self._begin(saved, grid.now if isinstance(grid, KeepsTime) else None)
            directory.add_provenance(of_flower_run(grid.run))
            try:
                result: Result = self._strategy.start(
                    grid=grid,
                    initial_arrays=arrays,
                    num_rounds=num_rounds - self._strategy.rounds_done,
                    timeout=timeout,
                    evaluate_fn=self.end_round,
                )
            except BudgetReachedError as enough:
                self._strategy.refuse_untrained()
                result = Result(arrays=enough.arrays)
            except DeadActorError:
                self._checkpointing.save_last_good()
                raise
            except (DivergedError, TrainingFailedError) as error:
                if isinstance(error, DivergedError):
                    self._checkpointing.save_last_good()
                remove_client_files(self._strategy.wrap_grid(grid))
                raise
            remove_client_files(self._strategy.wrap_grid(grid))
            self._complete(result.arrays or arrays)
        return result

    def _begin(self, saved: Mapping[str, Any] | None, now: Callable[[], float] | None) -> None:
        """Write the run's first files, with the earlier history of a resumed run."""
        show_times()
        self._directory.checkpoints.tensors.remove_leftovers()
        if not started_by_command():
            self._directory.write_provenance(of_this_process(), resumed=bool(self._history.rows))
        self._directory.write_config(self._settings)
        self._directory.write_data(self._data)
        flops = flops_of(self._strategy)
        self._directory.write_flops(flops)
        timed = None
        if self._clock is not None:
            timed = TimedRounds(self._clock, self._settings, flops)
        self._history.begin(saved, timed, now)
        self._directory.write_tracked_as(self._tracker_name, self._tracker.run)
        if not self._tracker.has_earlier_rows:
            for row in self._history.rows:
                self._tracker.log(row)
        self._write_summary("running")

    def end_round(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Evaluate centrally, write the round's row, and save a checkpoint.

        Raises
        ------
        BudgetReachedError
            A limit of the run's budget is reached; the round is recorded.
        """
        self._checkpointing.arrays = arrays
        if server_round == 0:
            self._round_began = time.perf_counter()
            return None
        self._strategy.take_late_replies()
        before_test = time.perf_counter()
        evaluation = self._strategy.evaluate(arrays, self._test_batches)
        now = time.perf_counter()
        row = self._history.add(evaluation, now - before_test, now - self._round_began)
        self._round_began = now
        self._tracker.log(row)
        self._log(row)
        self._checkpointing.save(is_last=row["round"] == self._num_rounds)
        self._write_summary("running")
        if (reason := self._budget.reached(self._history.rows)) is not None:
            log.info("%s", reason)
            raise BudgetReachedError(reason, arrays)
        return to_record(evaluation, "test")

    def _complete(self, arrays: ArrayRecord) -> None:
        """Write the models and the summary of a completed run."""
        client, server = self._strategy.model_state(arrays)
        whole = self._strategy.task.model.joined(client, server)
        if self._finish is None:
            self._directory.write_models(client, server, whole)
        else:
            self._figures = self._finish(whole, self._directory.path)
        if self._account is not None:
            uploads = self._strategy.sample_uploads.largest
            log.info("privacy: %s", self._account.describe(uploads))
        if self._label_epsilon:
            log.info("privacy: epsilon = %g for each label", self._history.epsilon_of_labels)
        if owed := self._strategy.take_late_replies():
            log.info("%d replies were missing when the run ended: their bytes are in no row", owed)
        # Before the summary, because a process that waits for the summary may end this one.
        self._tracker.close(completed=True)
        self._completed = True
        self._write_summary("completed")

    def _log(self, row: dict[str, Any]) -> None:
        accuracy = row["test_accuracy"]
        log.info(
            "round %d/%d: %sloss %.4f, %s MiB so far, %.1f s",
            row["round"], self._num_rounds,
            "" if accuracy is None else f"accuracy {percent(accuracy)}, ",
            row["test_loss"], mib(row["comm_bytes"]), row["seconds"],
        )  # fmt: skip

    def _write_summary(self, status: str) -> None:
        self._directory.write_summary(
            {
                "completed": self._completed,
                "status": status,
                "resumed_after": self._resumed_after,
                **summary_figures(self._history.rows),
                "delta": None if self._account is None else self._account.delta,
                "auxiliary_parameters": self._strategy.auxiliary_parameters,
                "seconds": round(time.perf_counter() - self._began, 3),
                "figures": dict(self._figures),
            }
        )
