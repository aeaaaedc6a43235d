"""The real packages, and what is said where they are missing.

They are imported in the tests that need them: every worker of pytest reads this file.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.runs.trackers import TRACKERS, TrackerError, open_tracker, require

ROWS = [{"round": k, "test_accuracy": k / 4, "train_loss": None} for k in (1, 2, 3)]


def curve(directory: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["test_accuracy"]
    return [(event.step, event.value) for event in events.Scalars("test_accuracy")]


@pytest.mark.slow
def test_tensorboard_has_the_curve_after_each_round(tmp_path: Path) -> None:
    with open_tracker("tensorboard", tmp_path, {}) as tracker:
        for row in ROWS:
            tracker.log(row)
            assert curve(tmp_path)[-1] == (row["round"], row["test_accuracy"])
    assert curve(tmp_path) == [(1, 0.25), (2, 0.5), (3, 0.75)]


def test_tensorboard_in_the_same_directory_again_has_each_round_once(tmp_path: Path) -> None:
    for count in (3, 2):
        with open_tracker("tensorboard", tmp_path, {}) as tracker:
            for row in ROWS[:count]:
                tracker.log(row)
    assert curve(tmp_path) == [(1, 0.25), (2, 0.5)]


@pytest.fixture
def wandb_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Any]]]:
    """Yield the first argument of each call of wandb's runs, which keep their data offline."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    calls: dict[str, list[Any]] = {"log": [], "finish": [], "define_metric": []}

    def recorded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *words: Any, **options: Any) -> Any:
            calls[name].append((self, *words, options))
            return method(self, *words, **options)

        return call

    for name in calls:
        monkeypatch.setattr(wandb.Run, name, recorded(name, getattr(wandb.Run, name)))
    yield calls
    wandb.teardown()


@pytest.mark.slow
def test_wandb_has_the_name_the_configuration_and_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb_calls: dict[str, list[Any]]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flwr-serverapp", "--token", "0123456789abcdef"])
    directory = tmp_path / "my-run"
    directory.mkdir()
    with open_tracker("wandb", directory, {"batch-size": 32}) as tracker:
        for row in ROWS:
            tracker.log(row)
    ((run, options),) = wandb_calls["finish"]
    assert (run.project, run.name, dict(run.config)) == ("fsl-sage", "my-run", {"batch-size": 32})
    assert options == {"exit_code": 0}
    logged = [(given["step"], row["test_accuracy"]) for _, row, given in wandb_calls["log"]]
    assert logged == [(1, 0.25), (2, 0.5), (3, 0.75)]
    written = [path for path in directory.rglob("*") if path.is_file()]
    assert written
    assert not any(b"0123456789abcdef" in path.read_bytes() for path in written)


@pytest.mark.slow
def test_wandb_continues_a_run_with_rounds_that_it_has_had(
    tmp_path: Path, wandb_calls: dict[str, list[Any]]
) -> None:
    earlier = ""
    for rows in (ROWS, [ROWS[1], ROWS[2]]):
        with open_tracker("wandb", tmp_path, {}, earlier) as tracker:
            assert tracker.has_earlier_rows == bool(earlier)
            earlier = tracker.run
            for row in rows:
                tracker.log(row)
    assert {run.id for run, *_ in wandb_calls["log"]} == {earlier}
    assert [row["round"] for _, row, _ in wandb_calls["log"]] == [1, 2, 3, 2, 3]
    assert ("*", {"step_metric": "round"}) in [call[1:] for call in wandb_calls["define_metric"]]


@pytest.fixture
def own_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "AIM_REPO"):
        monkeypatch.delenv(variable, raising=False)


def track(name: str, directory: Path, *, fails: bool = False) -> None:
    directory.mkdir()
    with (
        contextlib.suppress(ArithmeticError),
        open_tracker(name, directory, {"batch-size": 32, "model": "mine"}) as tracker,
    ):
        for row in ROWS:
            tracker.log(row)
        if fails:
            raise ArithmeticError


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
def test_mlflow_has_the_name_the_configuration_and_the_curve(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    track("mlflow", tmp_path / "my-run")
    client = MlflowClient(f"sqlite:///{tmp_path / 'my-run' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fsl-sage")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("my-run", "FINISHED")
    assert run.data.params == {"batch-size": "32", "model": "mine"}
    assert set(run.data.metrics) == {"test_accuracy"}
    points = client.get_metric_history(run.info.run_id, "test_accuracy")
    assert [(point.step, point.value) for point in points] == [(1, 0.25), (2, 0.5), (3, 0.75)]


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
def test_mlflow_writes_into_a_directory_of_any_name(tmp_path: Path) -> None:
    name = "a%2Fb 50% q?x#y é"
    track("mlflow", tmp_path / name)
    assert (tmp_path / name / "mlflow.db").is_file()


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
def test_mlflow_has_runs_of_one_place_in_one_experiment_and_which_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    place = f"sqlite:///{tmp_path / 'all.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    track("mlflow", tmp_path / "one")
    track("mlflow", tmp_path / "two", fails=True)
    client = MlflowClient(place)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    found = {run.info.run_name: run.info.status for run in runs}
    assert found == {"one": "FINISHED", "two": "FAILED"}
    assert not (tmp_path / "one" / "mlflow.db").exists()


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "aim"])
def test_a_run_is_continued_and_one_that_is_gone_begun_anew(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tracker(name, tmp_path, {"rounds": 2}) as tracker:
        first = tracker.run
        for row in ROWS[:2]:
            tracker.log(row)
    with open_tracker(name, tmp_path, {"rounds": 3}, first) as tracker:
        assert (tracker.run, tracker.has_earlier_rows) == (first, True)
        tracker.log(ROWS[2])
    assert "tracker" not in caplog.text
    if name == "mlflow":
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        points = client.get_metric_history(first, "test_accuracy")
        assert [point.step for point in points] == [1, 2, 3]
        assert client.get_run(first).info.status == "FINISHED"
    else:
        from aim import Repo, Run

        command = [str(Path(sys.executable).parent / "aim"), "storage", "--repo", str(tmp_path)]
        subprocess.run([*command, "reindex", "-y"], check=True, capture_output=True)
        run = Run(first, repo=Repo(str(tmp_path)), read_only=True)
        (curve,) = run.metrics()
        assert sorted(curve.dataframe()["step"]) == [1, 2, 3]
    with open_tracker(name, tmp_path, {}, "0" * 32) as tracker:
        assert tracker.run != first
        assert not tracker.has_earlier_rows
    assert "is not continued, a new one begins: tracker = " in caplog.text


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
def test_mlflow_that_cannot_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackerError, match=r"127\.0\.0\.1.*; check MLFLOW_TRACKING_URI") as caught:
        open_tracker("mlflow", tmp_path, {})
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_aim_has_the_name_the_configuration_and_the_curve(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aim import Repo, Run

    place = tmp_path / "my-run"
    if fails:  # the other place as well
        place = tmp_path / "repository"
        place.mkdir()
        monkeypatch.setenv("AIM_REPO", str(place))
    track("aim", tmp_path / "my-run", fails=fails)
    # What Aim's own page does when it is opened.
    command = [str(Path(sys.executable).parent / "aim"), "storage", "--repo", str(place)]
    subprocess.run([*command, "reindex", "-y"], check=True, capture_output=True)
    repository = Repo(str(place))
    (key,) = repository.list_all_runs()
    run = Run(key, repo=repository, read_only=True)
    assert (run.name, run.experiment, run["completed"]) == ("my-run", "fsl-sage", not fails)
    assert run["config"] == {"batch-size": 32, "model": "mine"}
    (curve,) = run.metrics()
    frame = curve.dataframe().sort_values("step")
    assert curve.name == "test_accuracy"
    assert list(zip(frame["step"], frame["value"], strict=True)) == [(1, 0.25), (2, 0.5), (3, 0.75)]


@pytest.mark.usefixtures("own_repository")
@pytest.mark.slow
def test_aim_that_cannot_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIM_REPO", "aim://127.0.0.1:9")
    with pytest.raises(TrackerError, match=r"Failed to connect to Aim Server.*; check AIM_REPO"):
        open_tracker("aim", tmp_path, {})


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing_is_named_with_its_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    for ask in (lambda: require(name), lambda: open_tracker(name, tmp_path, {})):
        with pytest.raises(TrackerError) as caught:
            ask()
        assert str(caught.value) == (
            f"tracker = {name!r}: {name} is not installed where the server runs; "
            f"pip install 'fsl-sage-flwr[{name}]'"
        )


def test_a_package_that_cannot_be_loaded_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "fsl_sage_flwr.runs.trackers.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrackerError, match="tensorboard is installed but cannot be loaded"):
        open_tracker("tensorboard", tmp_path, {})


@pytest.mark.slow
def test_wandb_that_cannot_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**settings: object) -> None:
        raise wandb.errors.UsageError("api_key not configured\n(no-tty)")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(TrackerError) as caught:
        open_tracker("wandb", tmp_path, {})
    assert str(caught.value) == (
        "tracker = 'wandb' cannot start: api_key not configured (no-tty); log in with wandb login, "
        "or set WANDB_MODE=offline"
    )


def test_no_tracker_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
    require("")
    with open_tracker("", tmp_path, {}) as tracker:
        tracker.log(ROWS[0])
    assert list(tmp_path.iterdir()) == []
