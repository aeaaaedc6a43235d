"""This package's own ClientApp, on data of its node's own."""

import stat
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_strategy, build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.nodes import task_cache
from fsl_sage_flwr.strategies import SplitStrategy, TrainingFailedError
from fsl_sage_flwr.task import ClientIdentity

from ..few_rounds import few_rounds
from ..memory_grid import MemoryGrid
from ..rows import rows
from ..runs import assert_same
from ..tables import pictures, write_split

pytestmark = pytest.mark.usefixtures("own_datasets")


RUN: dict[str, object] = {
    "num-server-rounds": 1, "batch-size": 360, "device": "cpu",
    "align.dataset-size": 20, "align.batch-size": 10, "align.epochs": 1,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def on_few_digits(few_digits: str) -> None:
    RUN["dataset"] = few_digits


def own_digits(folder: Path, rows: slice = slice(0, 40), **changes: object) -> str:
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    bunch = load_digits()
    images = [np.rint(i * (255 / 16)).astype(np.uint8) for i in bunch.images[rows]]
    labels = bunch.target[rows].tolist()
    return write_split(folder, "train", images, labels, **{"classes": 10, **changes})


def trained(
    own: dict[int, object], algorithm: str = "fsl_sage", nodes: int = 2, **settings: object
) -> SplitStrategy:
    """Train a round with these data paths, by partition id."""
    run_config = {"algorithm": algorithm, **RUN, **few_rounds(algorithm), **settings}
    node_config = {client: {"data-path": path} for client, path in own.items()}
    grid = MemoryGrid(app, nodes, run_config=run_config, node_config=node_config)
    config = RunConfig.from_run_config(run_config)
    strategy = build_strategy(config, build_task(config))
    with suppress(TrainingFailedError):  # where no node's data fit
        strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    return strategy


@pytest.mark.slow
@rows("algorithm", ALGORITHMS, lambda name: name in ("sl_single_server", "fsl_sage"))
def test_a_client_trains_on_its_own_directory(tmp_path: Path, algorithm: str) -> None:
    own = own_digits(tmp_path / "own")
    strategy = trained({1: own}, algorithm, **{"fraction-evaluate": 1.0})
    assert strategy.last_round.failures == {}
    assert strategy.last_round.clients == 2
    assert strategy.last_round.validation is not None
    # A tenth of the 50 and of the 40 examples is kept out for validation.
    assert strategy.last_round.validation.num_examples == 5 + 4


@pytest.mark.slow
def test_parts_of_the_dataset_are_shared_and_own_data_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as unnamed:
        unnamed.delenv("FSL_SAGE_CACHE")
        without = trained({}, nodes=3)
    monkeypatch.setenv("FSL_SAGE_CACHE", str(tmp_path / "named"))
    strategy = trained({1: own_digits(tmp_path / "own")}, nodes=3)
    assert strategy.last_round.clients == 3
    folders = list((tmp_path / "named").glob("*/run-*/parts"))
    assert len(folders) == 1  # the run's
    assert sorted(path.name for path in folders[0].iterdir()) == [
        "0-of-3.safetensors", "2-of-3.safetensors",
    ]  # fmt: skip
    shared = trained({}, nodes=3)
    server_halves = (each.task.model.server.state_dict() for each in (without, shared))
    assert_same(*server_halves)


@pytest.mark.slow
def test_copies_of_own_data_are_private_and_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` converts Parquet to Arrow, and would keep it for all to read, for ever."""
    import datasets

    monkeypatch.setenv("FSL_SAGE_CACHE", str(tmp_path / "named"))
    strategy = trained({0: own_digits(tmp_path / "own")}, nodes=1)
    assert strategy.last_round.failures == {}
    everywhere = [*(tmp_path / "named").rglob("*.arrow")]
    assert len(everywhere) == 1
    assert "own-data" in everywhere[0].parts
    for path in (tmp_path / "named").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert tmp_path not in Path(datasets.config.HF_DATASETS_CACHE).parents  # as it was before


@pytest.mark.slow
def test_its_batches_are_its_own_and_the_servers_data_are_not_touched(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    own = own_digits(tmp_path / "own", slice(100, 130))
    config = RunConfig.from_run_config({"dataset": "/only/on/the/server", "device": "cpu"})
    task = build_task(config, own)
    (batch,) = task.train_batches(ClientIdentity(3, 7), seed=1)
    assert sorted(batch[1].tolist()) == sorted(load_digits().target[100:130].tolist())
    assert batch[0].shape == (30, 1, 8, 8)
    assert task.num_classes == 10


@pytest.mark.slow
def test_all_clients_on_data_of_their_own_have_a_task_each(tmp_path: Path) -> None:
    own = {i: own_digits(tmp_path / f"{i}", slice(30 * i, 30 * i + 30)) for i in range(3)}
    strategy = trained(dict(own), nodes=3)
    assert strategy.last_round.clients == 3
    assert len(task_cache._last) == 3


@pytest.mark.slow
@rows(
    ("algorithm", "changes", "shape"),
    [
        ("fsl_sage", {"classes": 12}, (8, 8)),
        ("fsl_sage", {"classes": 5}, (8, 8)),
        ("fsl_sage", {}, (8, 8, 3)),
        ("fsl_sage", {}, (12, 12)),
        ("cse_fsl", {"classes": 5}, (8, 8)),
        ("cse_fsl", {}, (8, 8, 3)),
        ("fed_avg", {"classes": 12}, (8, 8)),
        ("fed_avg", {}, (12, 12)),
        ("sl_multi_server", {"classes": 12}, (8, 8)),
        ("sl_multi_server", {"classes": 5}, (8, 8)),
        ("sl_multi_server", {}, (8, 8, 3)),
        ("sl_single_server", {}, (12, 12)),
    ],
    lambda row: row[0] == "fsl_sage" or row[:2] == ("sl_multi_server", {"classes": 5}),
)
def test_data_that_do_not_fit_leave_the_client_out_with_one_line(
    tmp_path: Path, algorithm: str, changes: dict[str, int], shape: tuple[int, ...]
) -> None:
    labels = [i % changes.get("classes", 10) for i in range(24)]
    images = pictures(24, shape)
    own = write_split(tmp_path / "own", "train", images, labels, **{"classes": 10, **changes})
    strategy = trained({0: own}, algorithm, nodes=1)
    assert strategy.last_round.clients == 0
    reason = strategy.last_round.failures[0]
    assert "\n" not in reason
    if changes:
        count = changes["classes"]
        assert reason.startswith(f"its data have {count} classes, the run has 10; correct the data")
    elif "does not fit" in reason:
        assert "classes (ClassLabel) and the image shape of the run's dataset" in reason
    else:
        assert reason.startswith(("labels run", "smashed data"))


@pytest.mark.slow
@rows("algorithm", ALGORITHMS, lambda name: name in ("fed_avg", "sl_multi_server", "fsl_sage"))
@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("bird", "dog"), "its data lack 'cat'; correct the data and restart its SuperNode"),
        (("bird", "cow", "dog"), "its data lack 'cat' and have 'cow', unknown to the run; correct"),
        (("cat", "bird", "dog"), "label 0 is 'cat' in its data and 'bird' in the run; correct"),
        (("bird", "cat", "dog"), ""),
    ],
)
def test_a_node_whose_classes_have_other_names_is_left_out(
    tmp_path: Path, algorithm: str, names: tuple[str, ...], says: str
) -> None:
    """A folder of images that lacks a class has the labels of the others shifted."""
    labels = [i % 2 for i in range(12)]
    for split in ("train", "test"):
        dataset = write_split(
            tmp_path / "run", split, pictures(12, (8, 8)), labels, names=("bird", "cat", "dog")
        )
    own = write_split(tmp_path / "own", "train", pictures(12, (8, 8)), labels, names=names)
    strategy = trained({1: own}, algorithm, dataset=dataset)
    assert strategy.last_round.clients == (1 if says else 2)
    assert strategy.last_round.failures.get(1, "").startswith(says)
    assert [row.client for row in strategy.client_rounds()] == [0, 1]
    assert strategy.pauses.at(9) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/no/such/place", "DatasetError: data-path = <file> is no directory; give the"),
        (7, "ConfigError: data-path = 7 in the node's configuration: the absolute path"),
    ],
)
def test_a_wrong_path_leaves_the_client_out_with_the_reason(path: object, says: str) -> None:
    strategy = trained({0: path})
    assert strategy.last_round.clients == 1
    assert says in strategy.last_round.failures[0]


@pytest.mark.slow
def test_the_run_configuration_clips_and_noises_what_is_sent() -> None:
    norms: dict[int, list[float]] = {}
    for given in (
        {},
        {"privacy.smashed-clip-norm": 0.5},
        {
            "privacy.smashed-clip-norm": 0.5,
            "privacy.smashed-noise-multiplier": 2.0,
            "privacy.smashed-noise-seed": 4,
        },
    ):
        settings = {"algorithm": "cse_fsl", **RUN, **given}
        nodes = MemoryGrid(app, 2, run_config=settings)
        config = RunConfig.from_run_config(settings)
        strategy = build_strategy(config, build_task(config))
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=1)
        assert strategy.last_round.failures == {}
        found = [c.array_records["smashed"] for c in nodes.received if "smashed" in c]
        arrays = [array.numpy() for record in found for array in record.values()]
        norms[len(given)] = [float(np.linalg.norm(z, axis=1).max()) for z in arrays]
    assert min(norms[0]) > 0.5
    assert max(norms[1]) <= 0.5 * (1 + 1e-6)
    # 256 values with noise of deviation 1: a norm of about 16.
    assert all(12 < norm < 22 for norm in norms[3])
