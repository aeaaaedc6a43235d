"""A run is resumed with the same data, wherever they lie, and with no other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.app.assembly import identify_data
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.resume import checkpoint_for
from fsl_sage_flwr.runs.checkpoint import FORMAT, CheckpointError
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.resuming import with_run_settings
from fsl_sage_flwr.simulations.sweeps.combinations import identity
from fsl_sage_flwr.simulations.sweeps.finished import finished_runs

from ...language import save_rows
from ...tables import pictures, write_split

pytestmark = pytest.mark.usefixtures("own_datasets")


def images(folder: Path, rows: int = 6, **changes: Any) -> dict[str, Any]:
    labels = [k % 3 for k in range(rows)]
    for split in ("train", "test"):
        settings = {"image": "picture", "label": "kind", **changes}
        write_split(folder, split, pictures(rows, seed=rows), labels, **settings)
    return {"dataset": str(folder)}


def texts(folder: Path, rows: int = 6) -> dict[str, Any]:
    save_rows(folder, rows, 4)
    return {"dataset": str(folder), "task": "causal_lm", "model": "m", "cut": "h.1"}


def checkpoint(run: Path, config: RunConfig, *, described: bool = True) -> Path:
    """Write what a run of one round leaves, or one of an earlier version."""
    data = identify_data(config, download=False)
    assert data is not None
    directory = RunDirectory(run)
    settings = config.to_run_config() | (dict(data.columns) if described else {})
    directory.write_config(settings)
    directory.write_data(data.as_json() if described else None)
    state = {
        "format": FORMAT, "config": settings, "history": [{"round": 1}], "clients": [],
        "strategy": {}, "client_half": {}, **({"data": data.as_json()} if described else {}),
    }  # fmt: skip
    directory.checkpoints.write(directory.checkpoints.latest, state)
    return directory.checkpoints.latest


def resumed(values: dict[str, Any], file: Path) -> None:
    config = RunConfig.from_run_config(values)
    checkpoint_for(config, file, identify_data(config, download=False))


@pytest.mark.slow
@pytest.mark.parametrize("write", [images, texts])
def test_data_that_only_moved_are_the_same(
    tmp_path: Path, write: Callable[..., dict[str, Any]]
) -> None:
    values = write(tmp_path / "here")
    file = checkpoint(tmp_path / "run", RunConfig.from_run_config(values))
    resumed(values, file)
    shutil.move(tmp_path / "here", tmp_path / "there")
    resumed({**values, "dataset": str(tmp_path / "there")}, file)


@pytest.mark.slow
@pytest.mark.parametrize("write", [images, texts])
def test_data_that_have_grown_are_refused(
    tmp_path: Path, write: Callable[..., dict[str, Any]]
) -> None:
    file = checkpoint(tmp_path / "run", RunConfig.from_run_config(write(tmp_path / "here")))
    with pytest.raises(CheckpointError, match=r"train has 9 rows, it had 6.*; give the data"):
        resumed(write(tmp_path / "there", 9), file)


@pytest.mark.slow
def test_other_images_of_the_same_labels_are_refused(tmp_path: Path) -> None:
    values = images(tmp_path / "here")
    file = checkpoint(tmp_path / "run", RunConfig.from_run_config(values))
    for split in ("train", "test"):
        write_split(
            tmp_path / "there", split, pictures(6, seed=99), [0, 1, 2, 0, 1, 2],
            image="picture", label="kind",
        )  # fmt: skip
    with pytest.raises(CheckpointError, match="as many rows with another content"):
        resumed({**values, "dataset": str(tmp_path / "there")}, file)


@pytest.mark.slow
def test_another_label_column_is_another_setting(tmp_path: Path) -> None:
    values = images(tmp_path / "d", more={"label": [2, 1, 0, 2, 1, 0]})
    file = checkpoint(
        tmp_path / "run", RunConfig.from_run_config({**values, "data.label-column": "kind"})
    )
    with pytest.raises(CheckpointError, match=r"data\.label-column was 'kind', now 'label'"):
        resumed(values, file)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_resumed_by_the_path_of_its_data(tmp_path: Path) -> None:
    values = images(tmp_path / "here")
    file = checkpoint(tmp_path / "run", RunConfig.from_run_config(values), described=False)
    resumed(values, file)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    with pytest.raises(CheckpointError, match=r"dataset was '.*here', now '.*there'"):
        resumed({**values, "dataset": str(tmp_path / "there")}, file)


def test_a_checkpoint_whose_data_are_no_description_is_damaged(tmp_path: Path) -> None:
    values = images(tmp_path / "here")
    file = checkpoint(tmp_path / "run", RunConfig.from_run_config(values), described=False)
    directory = RunDirectory(tmp_path / "run")
    state = {
        "format": FORMAT, "config": {}, "history": [], "clients": [], "strategy": {},
        "client_half": {}, "data": [1],
    }  # fmt: skip
    directory.checkpoints.write(file, state)
    with pytest.raises(
        CheckpointError, match=r"corrupt or truncated .*the description of its data"
    ):
        resumed(values, file)


@pytest.mark.slow
def test_the_columns_of_an_earlier_versions_run_have_their_new_names(tmp_path: Path) -> None:
    values = images(tmp_path / "d") | {"results-dir": str(tmp_path / "results"), "run-name": "r"}
    run = tmp_path / "results" / "fsl_sage" / "simple_conv" / "d-iid" / "r"
    checkpoint(run, RunConfig.from_run_config(values))
    RunDirectory.federation_of(run).write_text('{"num-supernodes": 2}', encoding="utf-8")
    for file in (RunDirectory.config_of(run), RunDirectory.data_of(run)):
        text = file.read_text(encoding="utf-8")
        assert '"data.image-column"' in text
        file.write_text(text.replace('"data.', '"'), encoding="utf-8")
    resumed_values, _ = with_run_settings(
        {"resume": str(run), "results-dir": str(tmp_path / "results")}
    )
    assert resumed_values["data.image-column"] == resumed_values["data.label-column"] == ""
    assert "image-column" not in resumed_values


@pytest.mark.slow
def test_columns_that_were_found_are_written_and_stay_open(tmp_path: Path) -> None:
    """A sweep knows its finished run again, and a resumed run finds them again."""
    values = images(tmp_path / "d") | {"results-dir": str(tmp_path / "results"), "run-name": "r"}
    config = RunConfig.from_run_config(values)
    run = tmp_path / "results" / "fsl_sage" / "simple_conv" / "d-iid" / "r"
    checkpoint(run, config)
    RunDirectory.federation_of(run).write_text('{"num-supernodes": 2}', encoding="utf-8")
    written = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert (written["data.image-column"], written["data.label-column"]) == ("picture", "kind")
    goes_on, _ = with_run_settings({"resume": str(run), "results-dir": str(tmp_path / "results")})
    assert (goes_on["data.image-column"], goes_on["data.label-column"]) == ("", "")
    RunDirectory(run).write_summary({"completed": True})
    assert finished_runs(tmp_path / "results", 2) == {identity(config): run}
