"""``privacy.label-epsilon`` in this package's own app: labels that leave a node, log lines."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Context, RecordDict
from torch import Tensor

from fsl_sage_flwr.analysis.load_results import load_results
from fsl_sage_flwr.app.assembly import build_strategy, build_task
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.nodes.label_secret import RECORD, secret_of
from fsl_sage_flwr.nodes.local_batches import epoch_batches
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.strategies import SplitStrategy
from fsl_sage_flwr.task import ClientIdentity

from ..memory_grid import MemoryGrid
from ..rows import rows

ALGORITHMS = ("sl_multi_server", "sl_single_server", "cse_fsl", "fsl_sage", "heron_sfl")
RUN: dict[str, Any] = {
    "num-server-rounds": 2, "batch-size": 25, "device": "cpu", "fraction-evaluate": 1.0,
    "align.dataset-size": 20, "align.batch-size": 10, "align.epochs": 1,
}  # fmt: skip


def trained(few_digits: str, **changes: Any) -> tuple[SplitStrategy, MemoryGrid]:
    values = {**RUN, "dataset": few_digits, **changes}
    config = RunConfig.from_run_config(values)
    strategy, nodes = (
        build_strategy(config, build_task(config)),
        MemoryGrid(app, 2, run_config=values),
    )
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert strategy.last_round.failures == {}
    return strategy, nodes


def labels_in(content: RecordDict) -> Tensor:
    return content.array_records["labels"].to_torch_state_dict()["labels"]


@pytest.mark.slow
@rows("algorithm", ALGORITHMS, lambda name: name in ("cse_fsl", "fsl_sage"))
def test_what_leaves_a_node_is_randomised_and_always_alike(few_digits: str, algorithm: str) -> None:
    values = {**RUN, "algorithm": algorithm, "dataset": few_digits, "privacy.label-epsilon": 0.1}
    _, nodes = trained(few_digits, **values)
    task = build_task(RunConfig.from_run_config(values))
    sent = [(c, who) for c, (_, who) in zip(nodes.received, nodes.types, strict=True)]
    first = next(labels_in(c) for c, who in sent if who == 0 and "labels" in c)[:25]
    _, clean = next(iter(epoch_batches(task, ClientIdentity(0, 2), 0, 0)))
    # Of ten classes a label is kept with probability 0.11: more than half of 25 never are.
    assert int((clean == first).sum()) <= 12
    # The validation part is not shuffled: it is the same labels in every round.
    kinds = [kind for kind, who in nodes.types if who == 0]
    own = [content for content, who in sent if who == 0]
    one, two = (labels_in(c) for c, k in zip(own, kinds, strict=True) if k.startswith("evaluate"))
    assert torch.equal(one, two)


@pytest.mark.slow
def test_the_secret_is_a_nodes_own_and_does_not_leave_it(few_digits: str) -> None:
    _, nodes = trained(few_digits, algorithm="cse_fsl", **{"privacy.label-epsilon": 1.0})
    found = [secret_of(context) for context in nodes.contexts.values()]
    assert None not in found
    assert len({*found}) == 2
    for secret in found:
        assert isinstance(secret, bytes)
        assert all(
            secret not in record.values()
            for content in nodes.received
            for record in content.config_records.values()
        )
    _, without = trained(few_digits, algorithm="cse_fsl")
    assert all(RECORD not in context.state for context in without.contexts.values())


@pytest.mark.slow
def test_a_large_epsilon_changes_no_bit(few_digits: str) -> None:
    one, _ = trained(few_digits, algorithm="cse_fsl")
    two, _ = trained(few_digits, algorithm="cse_fsl", **{"privacy.label-epsilon": 500.0})
    for name, weight in one.trained.current().items():
        assert torch.equal(weight, two.trained.current()[name])


def test_no_label_leaves_a_node_without_a_secret(few_digits: str) -> None:
    config = RunConfig.from_run_config({**RUN, "dataset": few_digits, "privacy.label-epsilon": 1.0})
    task = build_task(config, on_client=True)
    with pytest.raises(ValueError, match="client 1 has no secret to draw with; put label_s"):
        task.train_batches(ClientIdentity(1, 2), 0)
    assert "secret" not in repr(ClientIdentity(1, 2, {}, b"x" * 32))


def test_other_tasks_are_refused_in_a_line() -> None:
    language = {"task": "causal_lm", "model": "org/name", "dataset": "e2e_nlg"}
    with pytest.raises(
        ConfigError, match=r"^privacy.label-epsilon = 2: labels of task 'causal_lm' cannot"
    ):
        RunConfig.from_run_config({**language, "privacy.label-epsilon": 2.0})


@pytest.mark.slow
def test_a_run_says_what_it_has_spent_on_labels(tmp_path: Path, few_digits: str) -> None:
    values: dict[str, Any] = {
        **RUN, "algorithm": "cse_fsl", "dataset": few_digits, "privacy.label-epsilon": 3.0,
        "num-server-rounds": 1, "results-dir": str(tmp_path), "run-name": "x",
    }  # fmt: skip
    main(MemoryGrid(app, 2, run_config=values), Context(1, 0, {}, RecordDict(), values))
    (run,) = {path.parent for path in tmp_path.rglob("history.csv")}
    # A resumed run draws again, and so do the nodes.
    values |= {"num-server-rounds": 2, "resume": str(RunDirectory.checkpoint_of(run))}
    main(MemoryGrid(app, 2, run_config=values), Context(1, 0, {}, RecordDict(), values))
    assert list(load_results(tmp_path)["epsilon_of_labels"]) == [3.0, 6.0]
    summary = json.loads(RunDirectory.summary_of(run).read_text(encoding="utf-8"))
    assert summary["epsilon_of_labels"] == 6.0


def test_a_state_with_something_else_has_no_secret() -> None:
    state = RecordDict({RECORD: ConfigRecord({"secret": "text"})})
    assert secret_of(Context(1, 2, {}, state, {})) is None
