"""Registries: entries of this package, of entry points and of --import; wrong names."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

import fsl_sage_flwr
from fsl_sage_flwr import algorithm_registry, data, models, registries, task_registry
from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.known_names import NAMES
from fsl_sage_flwr.cli.list import Kind
from fsl_sage_flwr.compression import CODECS, codecs
from fsl_sage_flwr.data import DATASETS, DISTRIBUTIONS
from fsl_sage_flwr.models import MODELS
from fsl_sage_flwr.nodes.app import build_client_app
from fsl_sage_flwr.registries import ExtensionError, Registry, UnknownNameError
from fsl_sage_flwr.runs.trackers import TRACKERS
from fsl_sage_flwr.task_registry import TASKS

REGISTRIES: dict[str, Registry[Any]] = {
    "algorithms": ALGORITHMS,
    "codecs": CODECS,
    "datasets": DATASETS,
    "distributions": DISTRIBUTIONS,
    "models": MODELS,
    "tasks": TASKS,
    "trackers": TRACKERS,
}
# A module with an entry of each kind, made of the package's own.
EVERYTHING = """
from dataclasses import dataclass, replace

from fsl_sage_flwr import public
from fsl_sage_flwr.runs.trackers import TRACKERS
from fsl_sage_flwr.compression.codecs import CODECS, Sign
from fsl_sage_flwr.data import DATASETS, DISTRIBUTIONS
from fsl_sage_flwr.models import MODELS
from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.task_registry import TASKS
from fsl_sage_flwr.config import Options
from fsl_sage_flwr.tasks import DEFAULT_TASK

class MySign(Sign):
    name = "mine"

def train(message, context, task):
    return message

algorithms = replace(ALGORITHMS["cse_fsl"], name="mine", handlers={"train.mine": train})
codecs = MySign()
datasets = DATASETS["digits"]
distributions = DISTRIBUTIONS["iid"]
models = MODELS["simple_conv"]
tasks = replace(TASKS[DEFAULT_TASK], name="mine")
trackers = TRACKERS["tensorboard"]
"""
MODEL = """
from fsl_sage_flwr.models import MODELS, ModelEntry
from fsl_sage_flwr.models.simple_conv import SimpleConv

def mine(shape, classes):
    return SimpleConv(shape, classes)

MODELS.register("mine", ModelEntry(mine, cut="classifier"))
"""


@dataclass(frozen=True)
class Toy:
    """An entry of a registry that no run has."""

    number: int = 0


def toys(**changes: Any) -> Registry[Toy]:
    return Registry[Toy]("toy", Toy, **changes)


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a package: its module's source, and its entry points."""
    before = {name: set(registry) for name, registry in REGISTRIES.items()}

    def forget() -> None:
        registries._installed.cache_clear()
        registries._import_modules.cache_clear()
        for registry in REGISTRIES.values():
            registry._is_loaded = False

    def install(source: str, points: dict[str, str], module: str = "their_module") -> None:
        site = tmp_path / "site"
        information = site / f"{module}-1.0.dist-info"
        information.mkdir(parents=True)
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        (information / "METADATA").write_text(f"Name: {module}\nVersion: 1.0\n", encoding="utf-8")
        text = "".join(f"[fsl_sage_flwr.{group}]\n{line}\n" for group, line in points.items())
        (information / "entry_points.txt").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)
        forget()

    yield install
    monkeypatch.undo()
    forget()
    for name, registry in REGISTRIES.items():
        for added in set(registry._entries) - before[name]:
            registry.remove(added)
    sys.modules.pop("their_module", None)


# Entries -----------------------------------------------------------------------------------


def test_entries_are_found_in_the_order_of_registration() -> None:
    registry = toys()
    registry.register("b", Toy(1))
    registry.register("a", Toy(2))
    assert dict(registry) == {"b": Toy(1), "a": Toy(2)}
    assert (registry["b"], registry.get("c"), len(registry)) == (Toy(1), None, 2)
    registry.remove("b")
    assert list(registry) == ["a"]
    assert "b" not in registry


def test_a_duplicate_a_reserved_name_and_another_class_are_refused() -> None:
    def odd(name: str, entry: Toy, others: Any) -> None:
        if entry.number % 2 == 0:
            raise ValueError(f"toy {name!r} is even beside {list(others)}")

    registry = toys(reserved=("none",), check=odd)
    registry.register("a", Toy(1))
    for name in ("a", "none"):
        with pytest.raises(ValueError, match=f"^toy {name!r} is registered already; choose"):
            registry.register(name, Toy(1))
    with pytest.raises(ValueError, match=r"^toy 'b': 3 is no Toy; register an instance of Toy$"):
        registry.register("b", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^toy 'b' is even beside \['a'\]$"):
        registry.register("b", Toy(2))
    assert dict(registry) == {"a": Toy(1)}


def test_an_unknown_name_is_answered_with_all_valid_ones_and_the_closest() -> None:
    registry = toys(reserved=("none",))
    for name in ("train", "doll", "ball"):
        registry.register(name, Toy())
    with pytest.raises(UnknownNameError) as caught:
        registry["dol"]
    valid = "valid are none, train, doll, ball"
    assert str(caught.value) == f"toy 'dol': {valid}; did you mean 'doll'?"
    assert isinstance(caught.value, ValueError)
    assert registry.problem("xyz") == valid
    assert registry.problem("doll") is registry.problem("none") is None
    with pytest.raises(UnknownNameError, match="toy 'dol'"):
        registry.remove("dol")


SIGN = "from fsl_sage_flwr.compression.codecs import Sign; x = Sign()"


@pytest.mark.parametrize(("name", "registry"), REGISTRIES.items(), ids=REGISTRIES)
def test_every_kind_has_a_registry_with_its_group(name: str, registry: Registry[Any]) -> None:
    assert registry.group == f"fsl_sage_flwr.{name}"
    first = next(iter(registry))
    with pytest.raises(ValueError, match=f"^{registry.kind} {first!r} is registered already"):
        registry.register(first, registry[first])
    with pytest.raises(UnknownNameError, match=rf"^{registry.kind} {first + 'x'!r}: valid are .*"
                       rf"; did you mean {first!r}\?$"):  # fmt: skip
        registry[f"{first}x"]


def test_every_kind_that_is_registered_is_listed() -> None:
    assert set(REGISTRIES) == set(get_args(Kind)) - {"presets"} == set(NAMES)


@pytest.mark.parametrize("kind", NAMES)
def test_everything_is_listed_with_where_it_comes_from(kind: str) -> None:
    assert "fsl-sage-flwr" in {known.source for known in NAMES[kind]()}


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (models, "register_model", "MODELS.register"),
        (data, "register_dataset", "DATASETS.register"),
        (data, "register_distribution", r"DISTRIBUTIONS.register\(name, DistributionEntry"),
        (codecs, "register_codec", "CODECS.register"),
        (fsl_sage_flwr, "register_codec", "CODECS.register"),
        (algorithm_registry, "register_algorithm", "ALGORITHMS.register"),
        (task_registry, "register_task", "TASKS.register"),
    ],
)
def test_a_function_of_earlier_versions_is_answered(module: Any, name: str, call: str) -> None:
    with pytest.raises(ImportError, match=f"^{name} is gone: call {call}"):
        getattr(module, name)
    with pytest.raises(AttributeError):
        _ = module.registers


# Entry points ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "registry"), REGISTRIES.items(), ids=REGISTRIES)
def test_an_installed_package_adds_an_entry(
    name: str, registry: Registry[Any], install: Install
) -> None:
    install(EVERYTHING, {name: f"mine = their_module:{name}"})
    first = next(iter(registry._entries))
    assert registry[first] is registry._entries[first]
    assert "their_module" not in sys.modules  # nothing of it is imported for what is there
    assert registry["mine"] is getattr(sys.modules["their_module"], name)
    assert list(registry)[-1] == "mine"


def test_a_client_app_speaks_an_installed_algorithm(install: Install) -> None:
    install(EVERYTHING, {"algorithms": "mine = their_module:algorithms"})
    assert "train.mine" in build_client_app(lambda context: None)._registered_funcs  # type: ignore[arg-type, return-value]


def test_a_module_may_register_entries_itself(install: Install) -> None:
    install(MODEL, {"models": "mine = their_module"})
    assert MODELS["mine"].cut == "classifier"
    assert list(MODELS).count("mine") == 1


@pytest.mark.parametrize(
    ("source", "point", "said"),
    [
        ("", "no_such_module:x", "(no_such_module:x) cannot be loaded: ModuleNotFoundError: "),
        ("", "their_module:x", "(their_module:x) cannot be loaded: AttributeError: "),
        ("x = 3", "their_module:x", "ValueError: codec 'mine': 3 is no Codec; register an"),
        (
            "from fsl_sage_flwr.compression.codecs import Sign; x = Sign()",
            "their_module:x",
            "is named 'sign'",
        ),
    ],
)
def test_an_entry_point_that_cannot_be_loaded_is_one_line_every_time(
    source: str, point: str, said: str, install: Install
) -> None:
    install(source, {"codecs": f"mine = {point}"})
    for _ in range(2):
        with pytest.raises(ExtensionError) as caught:
            list(CODECS)
        assert str(caught.value).startswith("entry point 'mine' of fsl_sage_flwr.codecs (")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_entry_point_with_a_name_that_is_taken_is_refused(install: Install) -> None:
    install(
        "from fsl_sage_flwr.compression.codecs import Sign; x = Sign()",
        {"codecs": "sign = their_module:x"},
    )
    with pytest.raises(ExtensionError, match="codec 'sign' is registered already"):
        list(CODECS)


# The command -------------------------------------------------------------------------------


def fsl_sage(*words: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [root, path or root]))}
    code = "import sys; from fsl_sage_flwr.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True,
        text=True, check=False, timeout=120,
    encoding="utf-8")  # fmt: skip


@pytest.mark.slow
def test_a_module_in_this_folder_registers_a_model(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODEL, encoding="utf-8")
    listed = fsl_sage("list", "models", "--import", "my_models", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith("mine "))
    assert "my_models" in line
    wrong = fsl_sage("list", "models", "--import", "my_models.py", cwd=tmp_path)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    assert "without .py" in wrong.stderr


@pytest.mark.slow
def test_a_model_of_ones_own_trains_on_ray(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODEL, encoding="utf-8")
    done = fsl_sage(
        "run", "--import", "my_models", "--clients", "2", "model=mine", "num-server-rounds=1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mine on digits" in done.stdout


@pytest.mark.slow
def test_an_installed_packages_entry_point_is_found(tmp_path: Path) -> None:
    site = tmp_path / "site"
    information = site / "their_package-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "their_models.py").write_text(MODEL, encoding="utf-8")
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-package\n", encoding="utf-8"
    )
    entry = information / "entry_points.txt"
    entry.write_text("[fsl_sage_flwr.models]\nmine = their_models\n", encoding="utf-8")
    listed = fsl_sage("list", "models", cwd=tmp_path, path=site)
    assert "their_models" in listed.stdout, listed.stderr
    entry.write_text("[fsl_sage_flwr.models]\nmine = no_such_module\n", encoding="utf-8")
    broken = fsl_sage("list", "models", cwd=tmp_path, path=site)
    assert broken.returncode == 2
    assert "entry point 'mine' of fsl_sage_flwr.models (no_such_module)" in broken.stderr
