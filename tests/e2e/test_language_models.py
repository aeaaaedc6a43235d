"""A language model with an adapter through Flower's real simulation, and on a real SuperLink."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Context, RecordDict
from pandas.testing import assert_frame_equal

from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.simulations.app_directory import write_app

from ..language import small_run
from ..memory_grid import MemoryGrid
from .commands import fsl_sage, history_of, run_directory, summary_of
from .deployment import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.first]


def words(settings: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]


def in_one_process(settings: dict[str, Any]) -> pd.DataFrame:
    main(MemoryGrid(app, 2, run_config=settings), Context(1, 0, {}, RecordDict(), settings))
    return history_of(run_directory(Path(settings["results-dir"])))


# A message for each batch, and one for a round. That every algorithm trains a language model is in
# the contract's table, and that a SuperLink carries every algorithm in test_deployment.py.
ALGORITHMS = ("sl_single_server", "fsl_sage")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_simulation_on_ray_has_the_history_of_one_process(
    tmp_path: Path, algorithm: str
) -> None:
    settings = small_run(tmp_path, algorithm=algorithm)
    ray, here = (str(tmp_path / name) for name in ("ray", "here"))
    done = fsl_sage("run", "--clients", "2", *words({**settings, "results-dir": ray}), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "final test loss" in done.stdout
    run = run_directory(Path(ray))
    assert_frame_equal(
        history_of(run), in_one_process({**settings, "results-dir": here}), check_exact=True
    )
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_a_superlink_has_that_history_too(tmp_path: Path) -> None:
    # A message costs seconds here: one batch a client.
    of_all = small_run(tmp_path, **{"num-server-rounds": 1, "batch-size": 12})
    with Deployment(tmp_path, secure=False) as deployment:
        for partition in range(2):
            deployment.start_node(partition)
        packed = write_app(tmp_path)
        for algorithm in ALGORITHMS:
            settings, results = {**of_all, "algorithm": algorithm}, tmp_path / "up" / algorithm
            keys = {key.replace("-", "_"): value for key, value in settings.items()}
            run = deployment.run(packed, **keys, results_dir=str(results))
            assert deployment.finish(run) == "finished:completed", deployment.logs()
            deployed = run_directory(results)
            assert summary_of(deployed)["completed"] is True
            here = str(tmp_path / "here" / algorithm)
            found = in_one_process({**settings, "results-dir": here})
            assert_frame_equal(history_of(deployed), found, check_exact=True)
