"""A language model with an adapter in Flower's simulation on Ray."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Context, RecordDict
from pandas.testing import assert_frame_equal

from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.server_app import main

from ..language import small_run
from ..memory_grid import MemoryGrid
from .commands import fsl_sage, history_of, run_directory

pytestmark = [pytest.mark.e2e, pytest.mark.first]


def words(settings: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]


def in_one_process(settings: dict[str, Any]) -> pd.DataFrame:
    main(MemoryGrid(app, 2, run_config=settings), Context(1, 0, {}, RecordDict(), settings))
    return history_of(run_directory(Path(settings["results-dir"])))


# The contract's table has every algorithm with a language model, test_deployment.py a SuperLink.
def test_the_simulation_on_ray_has_the_history_of_one_process(tmp_path: Path) -> None:
    settings = small_run(tmp_path, algorithm="fsl_sage")
    ray, here = (str(tmp_path / name) for name in ("ray", "here"))
    done = fsl_sage("run", "--clients", "2", *words({**settings, "results-dir": ray}), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "final test loss" in done.stdout
    run = run_directory(Path(ray))
    assert_frame_equal(
        history_of(run), in_one_process({**settings, "results-dir": here}), check_exact=True
    )
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
