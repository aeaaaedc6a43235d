"""Resume a run given by its directory, its name, or as the last one."""

import json
from pathlib import Path
from typing import Any

from ..app.config import ConfigError, RunConfig, with_new_names
from ..app.run_path import results_dir_of, run_path
from ..runs.directory import RunDirectory
from ..runs.find_runs import runs_under

LAST = "last"


def with_run_settings(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys and federation options of a resuming run.

    A ``resume`` that is a checkpoint file is unchanged: such a run starts in a new directory.

    Parameters
    ----------
    values : dict
        Given keys; ``resume`` may name a run. They override the run's own.

    Raises
    ------
    ConfigError
        There is no such run, several of them, or no checkpoint.
    """
    named = values.get("resume")
    if not isinstance(named, str) or not named or Path(named).is_file():
        return values, {}
    run = find_run(named, Path(values["results-dir"]))
    checkpoint = RunDirectory.checkpoint_of(run)
    if not checkpoint.is_file():
        raise ConfigError(f"resume = {named!r}: {run} has no checkpoint to resume from")
    if values.get("run-name") not in ("", None, run.name):
        raise ConfigError(
            f"run-name = {values['run-name']!r}: the run {run.name!r} resumes in place; leave "
            f"run-name out, or begin another run from its checkpoint: resume={checkpoint}"
        )
    given = {key: value for key, value in values.items() if key not in ("resume", "results-dir")}
    found = dict.fromkeys(RunDirectory.keys_found_in_data(run), "")
    of_the_run = with_new_names(_read(RunDirectory.config_of(run)) | found)
    of_the_run.pop("virtual-clients", None)  # implied by the number of clients
    place = {"resume": str(checkpoint), "run-name": run.name,
             "results-dir": str(results_dir_of(run))}  # fmt: skip
    if run_path(RunConfig.unchecked({**of_the_run, **place})) != run:
        raise ConfigError(
            f"resume = {named!r}: {run} was moved or copied from the directory of its "
            f"configuration; begin another run from its checkpoint: resume={checkpoint}"
        )
    return {**of_the_run, **given, **place}, _read(RunDirectory.federation_of(run))


def find_run(named: str, results: Path) -> Path:
    """Return the directory of the run with this name or path, or of the ``last`` one.

    Raises
    ------
    ConfigError
        There is no such run, or there are several.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        return path.absolute()
    if "/" in named:
        raise ConfigError(
            f"resume = {named!r}: there is no such checkpoint file, and no directory of a run"
        )
    runs = runs_under(results)
    if named == LAST:
        begun = [run for run in runs if RunDirectory.checkpoint_of(run).is_file()]
        unfinished = [run for run in begun if not RunDirectory.is_completed_at(run)]
        if unfinished:
            return max(unfinished, key=lambda run: RunDirectory.checkpoint_of(run).stat().st_mtime)
        raise ConfigError(
            f"resume = 'last': there is no unfinished run with a checkpoint in {results}"
            + ("; for more rounds of a completed run, name it" if begun else "")
        )
    called = [run for run in runs if run.name == named]
    if len(called) == 1:
        return called[0]
    if called:
        raise ConfigError(
            f"resume = {named!r}: {len(called)} runs in {results} have this name; give the "
            f"directory of one, e.g. {called[0]}"
        )
    raise ConfigError(
        f"resume = {named!r}: it is no checkpoint file, no directory, and there is no run of this "
        f"name in {results}; give one of these, or last"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"resume: {file} cannot be read ({type(error).__name__})") from error
