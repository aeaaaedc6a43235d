"""A key that is called idle must be: two runs that differ in all idle keys are bit for bit one."""

import pytest
import torch
from flwr.app import Context, RecordDict

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.server_app import main

from ....few_rounds import few_rounds
from ....memory_grid import MemoryGrid
from ....rows import rows

OTHER = {
    "alpha": 0.1, "shards-per-client": 5, "momentum": 0.5, "server-momentum": 0.5,
    "auxiliary.head": "linear", "auxiliary.init": "random", "auxiliary.learning-rate": 0.1,
    "auxiliary.lr-schedule": "step every=1", "server-update-interval": 3, "align.interval": 1,
    "server-steps": 2, "server-pool": True, "mu-splitfed.perturbation-scale": 0.5,
    "align.epochs": 1, "align.batch-size": 9, "align.dataset-size": 20,
    "align.lr-schedule": "constant", "align.warm-start": True, "auxiliary.groups": 1,
    "splitfed.batches-per-exchange": 2,
    "ampere.client-rounds": 3,
    "heron.perturbation-scale": 0.5, "heron.perturbations": 3, "splitfed.server-order": "client",
    "validation-fraction": 0.5, "codec.smashed": "q2", "codec.gradients": "q2",
    "codec.auxiliary": "q2", "data.prompt-column": "a", "data.completion-column": "b",
    "language.max-length": 9, "language.max-test-rows": 5, "adapter.rank": 2, "adapter.alpha": 3,
    "adapter.dropout": 0.0, "adapter.target-modules": "q",
    "language.label-smoothing": 0.5, "auxiliary.blocks": 2,
    "robust.trimmed-share": 0.1, "robust.assumed-malicious": 2, "privacy.delta": 1e-3,
    "fedopt.eta": 0.5, "fedopt.beta-1": 0.5, "fedopt.beta-2": 0.5, "fedopt.tau": 0.5,
    "fedopt.server-learning-rate": 0.5, "fedopt.server-momentum": 0.5,
    "language.bleu": True, "language.max-new-tokens": 3,
    "tail": "x", "clock.link": "lte", "clock.server": "jetson", "clock.clients": "absent.csv",
    "clock.device-spread": 2.0, "clock.link-spread": 2.0,
    "clock.message-seconds": 1.0, "clock.message-round-trips": 2.0,
    "async.merge": "model", "async.mixing": 0.5, "async.staleness": "hinge", "async.decay": 1.0,
    "async.grace": 1, "async.late": "dropped", "async.generate": 4,
}  # fmt: skip
# Refused where they are idle: without auxiliary = blocks, and without a clock or its replies.
BY_CONFIG = {"auxiliary.max-share", "clock.replies", "clock.presence"}


def trained(config, tmp_path, name):
    values = {**config, "results-dir": str(tmp_path / name), "run-name": "x"}
    main(MemoryGrid(app, 2, run_config=values), Context(1, 0, {}, RecordDict(), values))
    (model,) = (tmp_path / name).rglob("full_model.pt")
    return torch.load(model, weights_only=True)


@pytest.mark.slow
@rows("algorithm", ALGORITHMS, lambda name: name in ("sl_multi_server", "fsl_sage"))
def test_idle_keys_change_no_bit(tmp_path, few_digits, algorithm):
    config = {
        "algorithm": algorithm, "dataset": few_digits, "num-server-rounds": 1, "batch-size": 25,
        **few_rounds(algorithm),
    }  # fmt: skip
    idle = set(RunConfig.from_run_config(config).unused_keys()) - BY_CONFIG
    assert idle <= set(OTHER)
    ours = trained(config, tmp_path, "ours")
    theirs = trained({**config, **{key: OTHER[key] for key in idle}}, tmp_path, "theirs")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"distribution": "noniid_dirichlet"}, "alpha"),
        ({"distribution": "shards"}, "shards-per-client"),
        ({"max-client-failures": 2}, "pause-rounds"),
        ({"robust.aggregation": "trimmed_mean"}, "robust.trimmed-share"),
        ({"fedopt.optimizer": "fedyogi"}, "fedopt.tau"),
        ({"fedopt.optimizer": "fedavgm"}, "fedopt.server-momentum"),
        ({"robust.aggregation": "bulyan"}, "robust.assumed-malicious"),
        ({"robust.aggregation": "somebodys_own"}, "robust.trimmed-share"),
        ({"optimizer": "somebodys_own"}, "momentum"),
        ({"distribution": "length"}, "alpha"),
        ({"privacy.smashed-noise-multiplier": 1.0}, "delta"),
        ({"optimizer": "sgd"}, "momentum"),
        ({"server-optimizer": "sgd"}, "server-momentum"),
        ({"algorithm": "fsl_sage"}, "auxiliary.init"),
        ({"algorithm": "cse_fsl", "auxiliary.head": "blocks"}, "auxiliary.max-share"),
        ({"algorithm": "sl_single_server"}, "splitfed.server-order"),
        ({"algorithm": "sl_multi_server"}, "splitfed.batches-per-exchange"),
        ({"algorithm": "fsl_sage", "cut": "auto"}, "align.interval"),
        ({"fraction-evaluate": 0.5}, "validation-fraction"),
        ({"algorithm": "cse_fsl"}, "codec.smashed"),
        ({"algorithm": "cse_fsl"}, "codec.auxiliary"),
        ({"algorithm": "sl_multi_server"}, "codec.gradients"),
        ({"algorithm": "somebodys_own"}, "align.epochs"),
        ({"distribution": "somebodys_own"}, "alpha"),
    ],
)
def test_a_key_that_matters_is_not_idle(config, key):
    assert key not in RunConfig.unchecked(config).unused_keys()
