from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.sweeps import finished_runs
from fsl_sage_flwr.simulations.sweeps.combinations import identity


def leave(results, *, completed=True, clients=4, **config):
    made = RunConfig(results_dir=str(results), run_name=f"r{len(list(results.rglob('r*')))}")
    config = RunConfig(**{**vars(made), **config})
    run = RunDirectory(run_path(config))
    run.begin_simulation(Federation(clients).options(), resumed=False)
    run.write_config(config.to_run_config())
    run.write_summary({"completed": completed})
    return run.path


def test_completed_runs_with_as_many_clients(tmp_path):
    done = leave(tmp_path, seed=1)
    leave(tmp_path, seed=2, completed=False)
    leave(tmp_path, seed=3, clients=5)
    assert finished_runs(tmp_path, 4) == {identity(RunConfig(seed=1)): done}


def test_a_directory_that_is_not_there_has_none(tmp_path):
    assert finished_runs(tmp_path / "nowhere", 4) == {}


def test_a_run_of_another_version_is_passed_over(tmp_path):
    run = RunDirectory(leave(tmp_path))
    run.write_config({"a-key-of-tomorrow": 1})
    assert finished_runs(tmp_path, 4) == {}


def test_a_file_that_no_run_wrote_is_passed_over(tmp_path):
    done = leave(tmp_path, seed=1)
    for name, text in (("broken", "{"), ("stranger", "[1]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "federation.json").write_text(text, encoding="utf-8")
    assert finished_runs(tmp_path, 4) == {identity(RunConfig(seed=1)): done}


def test_a_directory_that_is_being_made_is_passed_over(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin_simulation(Federation().options(), resumed=False)
    assert finished_runs(tmp_path, 4) == {}
