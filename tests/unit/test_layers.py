"""A room imports only what is below it, and Flower only by its public modules.

import-linter 2.17 was tried: its layers cannot place a package apart from its modules (``rounds``
"contains" ``rounds.round``), and external packages have no subpackages there ("not valid":
``flwr.common``), so most of this file would stay beside it.
"""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import fsl_sage_flwr

ROOT = Path(fsl_sage_flwr.__file__).parent
PACKAGE = "fsl_sage_flwr"
FLOWER = ("flwr.app", "flwr.clientapp", "flwr.serverapp")

# A room whose parts are ordered: each of them is a room of the tables below.
ROOMS_WITH_ROOMS = ("app", "compression", "rounds", "runs")

# Every room from bottom to top: it imports only rooms before it.
ORDER = (
    # Without Flower.
    *(
        "user_error",
        "units",
        "line_style",
        "byte_columns",
        "registries",
        "cpus",
        "seeding",
        "classes",
        "running_code",
        "batching",
        "schedules",
        "clock",
        "config",
        "atomic_files",
        "tensor_store",
        "state",
        "diverged",
        "objective",
        "splitting",
        "compression.codecs",
    ),
    # Messages, and objectives.
    "messages",
    *(
        "compression.settings",
        "compression.__init__",
        "compression.estimates",
        "compression.arrays",
        "compression.differences",
        "compression.versions",
        "compression.client",
        "compression.server",
    ),
    *("batch_check", "task", "zeroth_order", "algorithm_registry", "algorithm_options"),
    # The clients' side.
    *("nodes", "client_apps"),
    # The server's side of a round.
    *(
        "rounds.__init__",
        "rounds.ordered_replies",
        "rounds.instruction",
        "rounds.threads",
        "rounds.refused_work",
        "rounds.round_counter",
        "rounds.early_stop",
        "rounds.reply_spool",
        "rounds.grid",
        "rounds.aggregation",
        "rounds.checks",
        "rounds.asynchrony",
        "rounds.strategy_arguments",
        "rounds.round_settings",
        "rounds.averaged_state",
        "rounds.argument_checks",
        "rounds.client_weights",
        "rounds.trained_check",
        "rounds.old_checkpoints",
        "rounds.exclusions",
        "rounds.clients",
        "rounds.metrics",
        "rounds.messenger",
        "rounds.round_parts",
        "rounds.asking",
        "rounds.last_phase",
        "rounds.round",
        "rounds.open_round",
        "rounds.round_average",
        "rounds.server",
        "rounds.split_strategy",
        "rounds.exchanges",
        "rounds.exchanges_in_step",
    ),
    # Algorithms: a strategy speaks the protocol that its clients declare.
    *("strategies", "algorithms"),
    # Kinds of tasks.
    *("models", "data", "task_registry", "image_classification", "language", "tasks"),
    # What a run leaves.
    *(
        "runs.__init__",
        "runs.trackers",
        "runs.checksummed_file",
        "runs.provenance",
        "runs.csv_tables",
        "runs.checkpoint_files",
        "runs.directory",
        "runs.flops",
        "runs.virtual_time",
        "runs.budget",
        "runs.find_runs",
        "runs.checkpoint",
        "runs.client_rows",
        "runs.privacy_account",
        "runs.log_lines",
        "runs.lock",
        "runs.log",
        "runs.round_rows",
        "runs.history",
        "runs.checkpointing",
        "runs.recorder",
    ),
    # Both apps of a project in one process.
    "inline",
    # The public surface: what another project imports.
    *("public", "__init__"),
    # What runs the package's own app.
    *(
        "app.__init__",
        "app.noise",
        "app.codec_options",
        "app.core_options",
        "app.conflicts",
        "app.config",
        "app.known_names",
        "app.document",
        "app.assembly",
        "app.images_only",
        "app.resume",
        "app.unused_keys",
        "app.virtual_clock",
        "app.run_path",
        "app.run_directory_lock",
        "client_app",
        "server_app",
    ),
    # The command.
    *("analysis", "attacks", "simulations", "cli", "__main__"),
)
# Flower starts the two apps, and so does the inline engine; no other module imports them.
APPS = {"client_app", "server_app"}
STARTS_APPS = {"simulations"}
# Rooms that know no Flower. flwr_datasets, the partitioners' package, is another thing.
WITHOUT_FLOWER = {
    "cpus",
    "registries",
    "config",
    "cli",
    "user_error",
    "units",
    "line_style",
    "byte_columns",
    "seeding",
    "batching",
    "schedules",
    "clock",
    "objective",
    "compression.codecs",
    "splitting",
    "models",
    "data",
    "task",
    "app.__init__",
    "app.config",
    "app.assembly",
    "app.run_directory_lock",
    "runs.directory",
    "runs.trackers",
    "runs.csv_tables",
    "runs.checkpoint_files",
}
# Packages of the extra `command`: where it is not installed only this room is missing.
OF_THE_COMMAND = {"jinja2", "matplotlib", "pandas", "psutil", "rich", "tabulate", "typer"}
WITH_THE_COMMAND = {"analysis", "attacks", "cli", "simulations"}
# Rooms whose third-party imports are these alone.
ONLY = {
    "cpus": set(),
    "__init__": set(),
    "user_error": set(),
    "units": set(),
    "line_style": set(),
    "byte_columns": set(),
    "registries": set(),
    "seeding": set(),
    "atomic_files": {"safetensors"},
    "tensor_store": {"safetensors", "torch"},
    "state": {"torch"},
    "diverged": set(),
    "batching": set(),
    "schedules": {"torch"},
    "clock": {"numpy"},
    "config": {"pydantic"},
    "objective": {"torch"},
    "algorithm_registry": {"flwr"},
    "algorithm_options": set(),
    "algorithms": set(),
    "splitting": {"opacus", "torch"},
    "models": {"torch", "torchvision"},
    "data": {
        "torch",
        "numpy",
        "datasets",
        "huggingface_hub",
        "flwr_datasets",
        "pyarrow",
        "sklearn",
        "PIL",
    },
    "messages": {"flwr", "torch", "numpy"},
    "compression.codecs": {"torch", "numpy"},
    "compression.__init__": set(),
    "compression.settings": set(),
    "compression.estimates": set(),
    "compression.client": {"flwr", "torch"},
    "compression.server": {"flwr", "torch"},
    "app.__init__": set(),
    "__main__": set(),
    "runs.lock": {"filelock"},
    "runs.trackers": {"torch", "wandb", "mlflow", "sqlalchemy", "aim"},
    "task": {"torch"},
    "strategies": {"flwr", "torch", "numpy"},
    "nodes": {"flwr", "torch", "numpy"},
    "client_apps": {"flwr", "torch"},
}


def room_of(path):
    return room_named(path.relative_to(ROOT).with_suffix("").parts)


def room_named(parts):
    return ".".join(parts[:2]) if parts[0] in ROOMS_WITH_ROOMS else parts[0]


def imported(source, path):
    """Return the absolute names of all that a file imports, wherever in it."""
    folder = [PACKAGE, *path.relative_to(ROOT).parent.parts]
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def rooms(names):
    """Return which parts of the package are among imported names."""
    found = set()
    for name in names:
        top, _, rest = name.partition(".")
        if top == PACKAGE:
            parts = rest.split(".")
            package = f"{parts[0]}.__init__" if parts[0] in ROOMS_WITH_ROOMS else "__init__"
            room = room_named(parts)
            found.add(room if room in ORDER else package)
    return found


def upward(room, names):
    apps = set() if room in STARTS_APPS else rooms(names) & APPS - {room}
    return rooms(names) - set(ORDER[: ORDER.index(room) + 1]) | apps


def wrong_flower(names):
    """Return the imported names that are Flower's, but not of its public modules."""
    flower = [name for name in names if name.partition(".")[0] == "flwr"]
    return [
        name
        for name in flower
        if not any(f"{name}.".startswith(f"{public}.") for public in FLOWER)
        or any(part.startswith("_") for part in name.split("."))
    ]


def third_party(names):
    tops = {name.partition(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - {PACKAGE}


FILES = sorted(ROOT.rglob("*.py"))


@cache
def imports():
    """Return what each file imports: read once, by the worker that tests it."""
    return {path: imported(path.read_text(encoding="utf-8"), path) for path in FILES}


# One test looks at all files: with one for each a fifth of all unit tests were of these.
def test_the_order_has_every_room_once():
    assert sorted({room_of(path) for path in FILES}) == sorted(ORDER)


def test_imports_point_down():
    wrong = {path: upward(room_of(path), names) for path, names in imports().items()}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_only_public_modules_of_flower():
    wrong = {path: wrong_flower(names) for path, names in imports().items()}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_third_party_imports_of_a_room():
    for path, names in imports().items():
        found, room = third_party(names), room_of(path)
        assert found <= ONLY.get(room, found), path
        assert not (room in WITHOUT_FLOWER and "flwr" in found), path
        assert room in WITH_THE_COMMAND or found.isdisjoint(OF_THE_COMMAND), path


@pytest.mark.slow
def test_no_import_is_hidden_in_text():
    hidden = ("__import__", "import_module")
    calls = [
        path
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id in hidden)
        or (isinstance(node, ast.Attribute) and node.attr in hidden)
    ]
    assert calls == []


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("strategies/fsl_sage.py", "from ..models import MODELS", {"models"}),
        ("strategies/fsl_sage.py", "from .. import task, algorithms", {"algorithms"}),
        ("strategies/fsl_sage.py", "from ..app import config", {"app.config"}),
        ("strategies/fsl_sage.py", "def f():\n    import fsl_sage_flwr.data.partitions", {"data"}),
        ("nodes/app.py", "from ..strategies.fsl_sage import FslSage", {"strategies"}),
        ("nodes/app.py", "from . import evaluation\nfrom .identity import x", set()),
        ("messages/deep/er.py", "from ...task import SplitTask", {"task"}),
        (
            "app/config.py",
            "from .assembly import build_task\nfrom ..data import DATASETS",
            {"app.assembly"},
        ),
        (
            "runs/directory.py",
            "from .recorder import Recorder\nfrom ..app.config import x",
            {"runs.recorder", "app.config"},
        ),
        ("runs/trackers/opening.py", "from ...app.config import RunConfig", {"app.config"}),
        ("runs/trackers/opening.py", "from .tracker import Tracker", set()),
        ("runs/recorder.py", "from ..runs import trackers", set()),
        ("seeding.py", "from fsl_sage_flwr.batching import batches_of", {"batching"}),
        ("task.py", "import fsl_sage_flwr", {"__init__"}),
        ("analysis/report.py", "from ..server_app import app", {"server_app"}),
        ("simulations/run.py", "from ..app.run_path import run_path\nimport fsl_sage_flwr", set()),
    ],
)
def test_an_import_upwards_is_seen(file, source, wrong):
    path = ROOT / file
    assert upward(room_of(path), imported(source, path)) == wrong


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("from flwr.app import Message", False),
        ("from flwr.serverapp.strategy import FedAvg", False),
        ("import flwr.clientapp.mod", False),
        ("from flwr_datasets import FederatedDataset", False),
        ("import flwr", True),
        ("from flwr import app", False),
        ("from flwr import client", True),
        ("from flwr.client import NumPyClient", True),
        ("from flwr.server.strategy import FedAvg", True),
        ("from flwr.common import Message", True),
        ("from flwr.simulation import run_simulation", True),
        ("from flwr.application import x", True),
        ("from flwr.app._private import x", True),
        ("from flwr.serverapp import _hidden", True),
    ],
)
def test_a_wrong_import_of_flower_is_seen(source, seen):
    assert bool(wrong_flower(imported(source, ROOT / "task.py"))) == seen
