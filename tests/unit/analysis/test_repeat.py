import shlex

import pytest

from fsl_sage_flwr.analysis.load_results import read_runs
from fsl_sage_flwr.analysis.repeat import command_line
from fsl_sage_flwr.simulations.federation import INLINE, Federation
from fsl_sage_flwr.simulations.settings import resolve

from ...made_runs import make_run
from ..cli.words import arguments, federation, federation_options


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"algorithm": "cse_fsl", "learning_rate": 3e-05, "alpha": 1.0, "weight_decay": 0.0},
        {"lr_schedule": "multi_step at=60,120 gamma=0.2", "keep_optimizer_state": False},
        {
            "dataset": "/data/it's here",
            "warm_start": True,
            "seed": 7,
            "max_communication_mib": 80.5,
        },
    ],
)
def test_the_line_is_the_run_again(tmp_path, settings):
    make_run(tmp_path, [0.5], run_name="x", **settings)
    (run,) = read_runs(tmp_path)
    program, *words = shlex.split(command_line(run))
    assert program == "fsl-sage"
    given = arguments(*words)
    again = resolve(given["preset"], given["settings"] or []).to_run_config()
    elsewhere = {"results-dir", "run-name"}
    assert {key: value for key, value in again.items() if key not in elsewhere} == {
        key: value for key, value in run.config.items() if key not in elsewhere
    }
    assert federation(*words[1:]) == Federation(clients=4)


def test_only_what_is_not_the_default_is_said(tmp_path):
    make_run(tmp_path, [0.5], seed=7, run_name="x", clients=10, alpha=0.1)  # idle with iid
    (run,) = read_runs(tmp_path)
    line = command_line(run)
    assert line.startswith("fsl-sage run --clients 10 --cpus-per-client 1 --gpus-per-client 0 ")
    assert line.endswith(" num-server-rounds=1 seed=7")


def test_an_inline_run_is_repeated_inline(tmp_path):
    make_run(tmp_path, [0.5])
    (run,) = read_runs(tmp_path)
    expected = Federation(12, engine=INLINE)
    run.federation.clear()
    run.federation.update(expected.record())
    line = command_line(run)
    assert line.startswith("fsl-sage run --engine inline --clients 12 ")
    options = federation_options(*shlex.split(line)[2:])
    assert options.federation() == expected
    assert options.for_ray() == []


def test_every_option_of_the_federation_is_said(tmp_path):
    make_run(tmp_path, [0.5])
    (run,) = read_runs(tmp_path)
    expected = Federation(12, 2, 0.25, 8, 1)
    run.federation.clear()
    run.federation.update(expected.options())
    assert federation(*shlex.split(command_line(run))[2:]) == expected


def test_a_deployment_has_no_federation(tmp_path):
    make_run(tmp_path, [0.5], clients=None)
    (run,) = read_runs(tmp_path)
    assert command_line(run) == "fsl-sage run num-server-rounds=1"
