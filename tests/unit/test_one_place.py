"""What belongs to one algorithm stands in its own two files, and is named nowhere else."""

import ast
import re
from pathlib import Path

import pytest

import fsl_sage_flwr
from fsl_sage_flwr import public, strategies  # noqa: F401 - the first registers all
from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import all_settings
from fsl_sage_flwr.strategies import SplitStrategy

ROOT = Path(fsl_sage_flwr.__file__).parent
# The two sides of each algorithm; both versions of SplitFed speak one protocol, and with a tail
# another.
SIDES = {f"strategies/{name}.py" for name in ALGORITHMS}
SIDES |= {f"client_apps/{name}.py" for name in ALGORITHMS}
SIDES |= {"client_apps/split_fed.py", "client_apps/split_fed_tail.py"}
# The registration, and what is shown of the library from outside.
LISTS = {"algorithms.py", "strategies/__init__.py", "public.py", "__init__.py"}
# Speaks the protocol of both versions.
SHARED = {"rounds/exchanges.py", "rounds/exchanges_in_step.py"}

CLASSES = {
    name
    for name in strategies.__all__
    if isinstance(getattr(strategies, name), type)
    and issubclass(getattr(strategies, name), SplitStrategy)
    and getattr(strategies, name) is not SplitStrategy
}
LABELS = {algorithm.label for algorithm in ALGORITHMS.values()} - {"FedAvg"}  # Flower's own too
NAMED = re.compile(
    r"\b("
    + "|".join(map(re.escape, [*ALGORITHMS, *CLASSES, *LABELS, "split_fed", "SplitFed"]))
    + r")\b"
)
# The logger's name, which is the package's.
NOT_A_NAME = "flwr.fsl_sage"


def words_of(source: str) -> list[str]:
    """Return all names and texts of a file's code; documentation may name places."""
    tree = ast.parse(source)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documentation:
                found.append(node.value)
        elif isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            found.append(node.attr)
        elif isinstance(node, ast.keyword):
            found.append(node.arg or "")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [alias.name for alias in node.names]
            found += (getattr(node, "module", None) or "").split(".")
    return [word for word in found if word != NOT_A_NAME]


def named_in(source: str) -> set[str]:
    return {match for word in words_of(source) for match in NAMED.findall(word)}


FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).as_posix() not in SIDES | LISTS | SHARED
]


@pytest.mark.slow
def test_no_other_file_names_an_algorithm() -> None:
    named = {path: named_in(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: names for path, names in named.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("if config.algorithm == 'fsl_sage': pass", {"fsl_sage"}),
        ("from ..strategies import FslSage", {"FslSage"}),
        ("from ..strategies.cse_fsl import x", {"cse_fsl"}),
        ("titles = ['SplitFed V1 MiB']", {"SplitFed V1"}),
        ('"""As FSL-SAGE does."""', set()),
        ("log = getLogger('flwr.fsl_sage')", set()),
        ("import fsl_sage_flwr", set()),
    ],
)
def test_a_name_is_seen(source: str, found: set[str]) -> None:
    assert named_in(source) == found


def test_an_algorithm_is_one_step_from_what_all_share() -> None:
    for name in CLASSES:
        assert getattr(strategies, name).__bases__ == (SplitStrategy,), name


def private_names(source: str) -> tuple[set[str], set[str]]:
    """Return the private attributes of self that a file uses, and those that it defines."""
    used, defined = set[str](), set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            defined.add(node.name)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and node.attr.startswith("_")
        ):
            (defined if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    return used, defined


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_strategy_uses_no_private_state_of_what_it_inherits(name: str) -> None:
    used, defined = private_names((ROOT / "strategies" / f"{name}.py").read_text(encoding="utf-8"))
    assert used <= defined


@pytest.mark.parametrize("key", all_settings())
def test_every_setting_is_documented(key: str) -> None:
    assert all_settings()[key].doc
