"""A room imports only what is below it, and Flower only by its public modules."""

import ast
import sys
from pathlib import Path

import pytest

import fsl_sage_flwr

ROOT = Path(fsl_sage_flwr.__file__).parent
PACKAGE = "fsl_sage_flwr"
FLOWER = ("flwr.app", "flwr.clientapp", "flwr.serverapp")

# A room whose parts have an order of their own: each of them is a room of the tables below.
ROOMS_WITH_ROOMS = ("app",)

# Every room, and what else of the package it may import: a module or subpackage directly in the
# package, or in one of `ROOMS_WITH_ROOMS`.
# From bottom to top: an entry names only entries above it in this table.
BELOW = {
    "cpus": set(),
    "seeding": set(),
    "classes": set(),
    "running_code": set(),
    "whole_files": set(),
    "tensor_files": {"whole_files"},
    "batching": set(),
    "schedules": set(),
    "objective": set(),
    "splitting": {"batching", "objective"},
    "models": set(),
    "data": {"batching", "seeding", "tensor_files", "whole_files"},
    "codecs": set(),
    "messages": {"codecs"},
    "task": {"classes", "objective", "schedules", "seeding", "splitting"},
    "options": {"schedules"},
    "registry": {"messages", "options", "splitting", "task"},
    "client_apps": {
        *("codecs", "messages", "registry", "schedules", "seeding", "splitting", "task"),
        *("classes", "running_code", "tensor_files", "whole_files"),
    },
    # A strategy speaks its clients' protocol: the messages that they declare.
    "strategies": {
        *("batching", "classes", "client_apps", "codecs", "cpus", "messages", "objective"),
        *("options", "registry", "running_code", "schedules", "seeding", "splitting", "task"),
        *("tensor_files", "whole_files"),
    },
    "algorithms": {"registry", "strategies"},
    # What can be learnt: kinds of tasks.
    "task_registry": {"classes", "data", "options", "schedules", "strategies", "task"},
    "image_classification": {
        *("classes", "data", "models", "options", "seeding", "splitting", "task"),
        *("task_registry",),
    },
    "language": {
        *("batching", "data", "models", "objective", "options", "schedules", "seeding"),
        *("splitting", "task", "task_registry"),
    },
    "tasks": {"image_classification", "language", "task_registry"},
    # The command line's words, and the names of keys: nothing that takes time to import.
    "extensions": set(),
    "key_names": set(),
    "command_line": {"extensions", "key_names"},
    # What a run leaves.
    "app.__init__": set(),
    "app.trackers": set(),
    "app.sealed": {"whole_files"},
    "app.provenance": {"cpus"},
    "app.results": {"app.provenance", "app.sealed", "messages", "tensor_files", "whole_files"},
    "app.checkpoint": {"app.results", "app.sealed", "tensor_files"},
    "app.client_rows": set(),
    "app.privacy_account": set(),
    "app.quiet": set(),
    "app.log_lines": set(),
    "app.run_lock": {"app.provenance"},
    "app.run_log": {"whole_files"},
    "app.recorder": {
        *("app.checkpoint", "app.client_rows", "app.log_lines", "app.privacy_account"),
        *("app.provenance", "app.quiet", "app.results", "app.run_lock", "app.trackers"),
        *("registry", "splitting", "strategies", "task"),
    },
    # The public surface: what another project imports.
    "public": {
        *(
            "algorithms",
            "app.privacy_account",
            "app.recorder",
            "client_apps",
            "codecs",
            "data",
            "messages",
            "objective",
            "schedules",
        ),
        *("splitting", "strategies", "task"),
    },
    "__init__": {"public", "running_code"},
    # What runs the package's own app.
    "app.noise": {"registry", "task_registry"},
    "app.config": {
        *("algorithms", "app.noise", "app.trackers", "codecs", "data", "key_names", "messages"),
        *("options", "registry", "schedules", "splitting", "strategies", "task_registry", "tasks"),
    },
    "app.forecast": {"codecs", "messages", "splitting"},
    "app.assembly": {
        *("app.config", "app.forecast", "app.privacy_account", "classes", "cpus", "data"),
        *("registry",),
        *("seeding", "splitting", "strategies", "task", "task_registry"),
    },
    "app.going_on": {"app.checkpoint", "app.config", "data", "key_names"},
    "app.idle": {"app.config", "data", "registry", "strategies", "task_registry"},
    "app.run_path": {"app.config", "app.results"},
    "app.claim": {"app.config", "app.provenance", "app.run_lock", "app.run_path"},
    "client_app": {
        *("app.assembly", "app.config", "app.log_lines", "classes", "client_apps", "data"),
        *("extensions", "task"),
    },
    "server_app": {
        *("app.assembly", "app.claim", "app.config", "app.going_on", "app.idle", "app.log_lines"),
        *("app.recorder", "app.results", "app.run_log", "extensions", "messages", "strategies"),
    },
    # On top: anything but the two apps, which Flower starts.
    "simulations": {
        *("__init__", "algorithms", "app.assembly", "app.checkpoint", "app.claim", "app.config"),
        *("app.forecast", "app.going_on", "app.idle", "app.privacy_account", "app.provenance"),
        *(
            "app.run_lock",
            "app.run_log",
            "app.run_path",
            "app.results",
            "app.trackers",
            "batching",
            "client_apps",
            "codecs",
        ),
        *("command_line", "cpus", "data", "extensions", "image_classification", "key_names"),
        *("language", "messages", "models", "objective"),
        *("registry", "seeding", "splitting", "strategies", "task", "task_registry"),
        *("tasks", "whole_files"),
    },
    # Where the command begins.
    "command": {"command_line", "simulations"},
    "__main__": {"command"},
}
# Rooms that know no Flower. flwr_datasets, the partitioners' package, is another thing.
WITHOUT_FLOWER = {
    "cpus",
    "extensions",
    "key_names",
    "command_line",
    "seeding",
    "batching",
    "schedules",
    "objective",
    "options",
    "codecs",
    "splitting",
    "models",
    "data",
    "task",
    "app.__init__",
    "app.config",
}
WITHOUT_FLOWER |= {"app.assembly", "app.claim", "app.results", "app.trackers"}
# Packages of the extra `command`: where it is not installed only this room is missing.
OF_THE_COMMAND = {"jinja2", "matplotlib", "pandas", "psutil", "rich", "tabulate"}
WITH_THE_COMMAND = {"simulations"}
# Rooms whose third-party imports are these alone.
ONLY = {
    "cpus": set(),
    "__init__": set(),
    "key_names": set(),
    "command_line": {"argcomplete"},
    "extensions": set(),
    "seeding": set(),
    "whole_files": {"safetensors"},
    "tensor_files": {"safetensors", "torch"},
    "batching": set(),
    "schedules": {"torch"},
    "options": set(),
    "objective": {"torch"},
    "registry": {"flwr"},
    "algorithms": set(),
    "splitting": {"opacus", "torch"},
    "models": {"torch", "torchvision"},
    "data": {"torch", "numpy", "datasets", "flwr_datasets", "pyarrow", "sklearn", "PIL"},
    "messages": {"flwr", "torch", "numpy"},
    "codecs": {"torch", "numpy"},
    "app.__init__": set(),
    "command": set(),
    "__main__": set(),
    "app.run_lock": {"filelock"},
    "app.trackers": {"torch", "wandb", "mlflow", "sqlalchemy", "aim"},
    "task": {"torch"},
    "strategies": {"flwr", "torch", "numpy"},
    "client_apps": {"flwr", "torch", "numpy"},
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
            found.add(room if room in BELOW else package)
    return found


def upward(room, names):
    return rooms(names) - BELOW[room] - {room}


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
IMPORTS = {path: imported(path.read_text(encoding="utf-8"), path) for path in FILES}


# One test looks at all files: with one for each a fifth of all unit tests were of these.
def test_the_table_has_every_room_and_no_other():
    assert {room_of(path) for path in FILES} == set(BELOW)


def test_the_table_points_down():
    order = list(BELOW)
    for room, below in BELOW.items():
        assert below <= set(order[: order.index(room)]), room


def test_imports_point_down():
    wrong = {path: upward(room_of(path), names) for path, names in IMPORTS.items()}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_only_public_modules_of_flower():
    wrong = {path: wrong_flower(names) for path, names in IMPORTS.items()}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_third_party_imports_of_a_room():
    for path, names in IMPORTS.items():
        found, room = third_party(names), room_of(path)
        assert found <= ONLY.get(room, found), path
        assert not (room in WITHOUT_FLOWER and "flwr" in found), path
        assert room in WITH_THE_COMMAND or found.isdisjoint(OF_THE_COMMAND), path


def test_no_import_is_hidden_in_text():
    hidden = ("__import__", "import_module")
    calls = [
        path
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id in hidden)
        or (isinstance(node, ast.Attribute) and node.attr in hidden)
    ]
    # The commands, each beside that file, are imported when they are given.
    assert calls == [ROOT / "simulations" / "commands" / "__init__.py"]


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("strategies/fsl_sage.py", "from ..models import CATALOGUE", {"models"}),
        ("strategies/fsl_sage.py", "from .. import task, algorithms", {"algorithms"}),
        ("strategies/fsl_sage.py", "from ..app import config", {"app.config"}),
        ("strategies/fsl_sage.py", "def f():\n    import fsl_sage_flwr.data.partitions", {"data"}),
        ("client_apps/builder.py", "from ..strategies.roster import Roster", {"strategies"}),
        ("client_apps/builder.py", "from . import fsl_sage\nfrom .identity import x", set()),
        ("messages/deep/er.py", "from ...task import SplitTask", {"task"}),
        (
            "app/config.py",
            "from .assembly import build_task\nfrom ..data import DATASETS",
            {"app.assembly"},
        ),
        (
            "app/results.py",
            "from .recorder import Recorder\nfrom .config import x",
            {"app.recorder", "app.config"},
        ),
        ("app/trackers/opening.py", "from ..config import RunConfig", {"app.config"}),
        ("app/trackers/opening.py", "from .tracker import Tracker", set()),
        ("app/config.py", "from ..app import trackers", set()),
        ("app/config.py", "import fsl_sage_flwr.app", {"app.__init__"}),
        ("app/config.py", "from . import something", {"app.__init__"}),
        ("seeding.py", "from fsl_sage_flwr.batching import batches_of", {"batching"}),
        ("task.py", "import fsl_sage_flwr", {"__init__"}),
        ("simulations/run.py", "from ..server_app import app", {"server_app"}),
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


def test_every_import_that_a_room_may_make_is_made():
    """Permission that nobody needs would let an edge in that nobody asks about."""
    names_of = {room: [] for room in BELOW}
    for path, names in IMPORTS.items():
        names_of[room_of(path)] += names
    idle = {room: below - rooms(names_of[room]) for room, below in BELOW.items()}
    assert {room: unused for room, unused in idle.items() if unused} == {}
    idle = {room: packages - third_party(names_of[room]) for room, packages in ONLY.items()}
    assert {room: unused for room, unused in idle.items() if unused} == {}
