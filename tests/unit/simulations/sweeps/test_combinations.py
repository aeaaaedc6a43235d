import re

import pytest

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.config.optimizer import OptimizerOptions
from fsl_sage_flwr.simulations.settings import EXPERIMENTS, preset_names
from fsl_sage_flwr.simulations.sweeps import combinations, read_sweep
from fsl_sage_flwr.simulations.sweeps.combinations import identity

ALGORITHM_ORDER = ("fed_avg", "sl_multi_server", "sl_single_server", "cse_fsl", "fsl_sage")


def refusal(*blocks):
    with pytest.raises(ConfigError) as error:
        combinations(blocks)
    return str(error.value)


def test_every_combination_once_the_last_list_fastest():
    runs = combinations([{"algorithm": ["cse_fsl", "fsl_sage"], "seed": [1, 2], "batch-size": 8}])
    assert [(r.config.algorithm, r.config.seed, r.config.batch_size) for r in runs] == [
        ("cse_fsl", 1, 8),
        ("cse_fsl", 2, 8),
        ("fsl_sage", 1, 8),
        ("fsl_sage", 2, 8),
    ]
    assert runs[2].label == "algorithm=fsl_sage seed=1"


def test_without_a_list_it_is_one_run():
    (run,) = combinations([{"seed": 7}])
    assert (run.config.seed, run.label) == (7, "fsl_sage")


def test_blocks_are_sweeps_of_their_own():
    runs = combinations(
        [{"distribution": "iid"}, {"distribution": "noniid_dirichlet", "alpha": [1, 10]}]
    )
    assert [(r.config.distribution, r.config.alpha) for r in runs] == [
        ("iid", 1.0),
        ("noniid_dirichlet", 1.0),
        ("noniid_dirichlet", 10.0),
    ]
    assert runs[0].label == "distribution=iid"
    assert runs[2].label == "distribution=noniid_dirichlet alpha=10.0"


def test_names_are_folders_and_tell_runs_apart():
    runs = combinations([{"seed": [1, 2], "lr-schedule": ["constant", "step every=2"]}])
    names = [run.config.run_name for run in runs]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[\w][\w.-]*", name) for name in names)
    assert names[3].startswith("seed-2-lr-schedule-step_every_2-")
    for run in runs:
        assert RunConfig.from_run_config(run.config.to_run_config()) == run.config


def interval_of(run):
    return run.config.to_run_config().get("align.interval")


def test_keys_without_effect_make_no_run_of_their_own():
    runs = combinations([{"algorithm": ["fed_avg", "fsl_sage"], "align.interval": [5, 1]}])
    assert [(r.config.algorithm, interval_of(r)) for r in runs] == [
        ("fed_avg", None),
        ("fsl_sage", 5),
        ("fsl_sage", 1),
    ]
    assert runs[0].label == "algorithm=fed_avg"
    assert "align.interval" not in runs[0].config.run_name


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"alpha": [1, 2], "seed": [1, 2]}, "alpha changes nothing in any of these runs with "
         "distribution = iid; leave it out, or set distribution to noniid_dirichlet"),
        ({"alpha": 0.1, "seed": [1, 2]}, "alpha changes nothing in any of these runs with"),
        ({"momentum": [0.1, 0.2]}, "with optimizer = adam; leave it out, or set optimizer to sgd"),
        ({"algorithm": ["fed_avg", "cse_fsl"], "align.warm-start": [True, False]},
         "with algorithm = fed_avg"),
        ({"validation-fraction": [0.1, 0.2]},
         "with fraction-evaluate = 0.0; leave it out, or change fraction-evaluate"),
        ({"auxiliary.max-share": [0.6, 0.6]}, "with auxiliary.head = auto"),
        ({"seed": [1, "two"]}, "seed = 'two': a whole number is needed"),
        ({"algorithm": ["fsl_sage", "fedavg"]}, "did you mean 'fed_avg'?"),
        ({"run-name": "mine"}, "run-name = 'mine': a sweep names its runs itself"),
        ({"resume": "/x.pt"}, "resume = '/x.pt': a sweep finds the checkpoints"),
        ({"sed": [1, 2]}, "unknown key 'sed': did you mean 'seed'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_runs(block, says):
    assert says in refusal(block)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["comparison-reduced", "comparison-cifar10"])
def test_words_may_narrow_an_experiment_down(experiment):
    """The experiment's own ``alpha`` has no effect then, without a mistake of the user."""
    runs = combinations(read_sweep(experiment, ["distribution=iid"]), {"distribution"})
    assert [run.label for run in runs] == [f"algorithm={name}" for name in ALGORITHM_ORDER]
    words = ["distribution=iid", "alpha=1,2"]
    with pytest.raises(ConfigError, match="alpha changes nothing in any of these runs"):
        combinations(read_sweep(experiment, words), {"distribution", "alpha"})


def test_identity_is_what_is_trained_not_where():
    config = RunConfig()
    same = RunConfig(
        results_dir="/elsewhere", run_name="x", checkpoint_interval=0, alpha=3.0, tracker="wandb",
        client=OptimizerOptions(momentum=0.5),
    )  # fmt: skip
    assert identity(same) == identity(config)
    for other in (
        RunConfig(seed=1),
        RunConfig.unchecked({"align.interval": 9}),
        RunConfig(precision="bf16"),
    ):
        assert identity(other) != identity(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "count"),
    [
        ("align-interval", 8),
        ("comparison-cifar10", 30),
        ("comparison-cifar100", 30),
        ("comparison-reduced", 10),
        ("head-size", 8),
    ],
)
def test_the_papers_experiments(experiment, count):
    runs = combinations(read_sweep(experiment, []))
    assert len(runs) == len({run.config.run_name for run in runs}) == count
    assert all(run.config.model == "resnet18" for run in runs)


def test_every_experiment_is_in_the_table_above():
    assert preset_names(EXPERIMENTS) == [
        "align-interval",
        "comparison-cifar10",
        "comparison-cifar100",
        "comparison-reduced",
        "head-size",
    ]


def test_the_comparison_has_the_papers_values():
    runs = combinations(read_sweep("comparison-cifar100", []))
    assert {run.config.dataset for run in runs} == {"cifar100"}
    assert {run.config.num_server_rounds for run in runs} == {200}
    assert len({run.config.algorithm for run in runs}) == 5
    shares = {r.config.alpha for r in runs if r.config.distribution == "noniid_dirichlet"}
    assert shares == {1.0, 10.0, 100.0, 1000.0, 10000.0}
    intervals = combinations(read_sweep("align-interval", []))
    assert [interval_of(run) for run in intervals] == [2, 3, 5, 10, 20, 30, 40, 50]
