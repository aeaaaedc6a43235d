"""No code is read from files, and no path of a run configuration leaves the results directory."""

import ast
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fsl_sage_flwr
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.run_path import run_path

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in (Path(fsl_sage_flwr.__file__).parent, ROOT / "benchmarks", ROOT / "examples")
    for path in folder.rglob("*.py")
)

PICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
# An exception is no pickle: torch.load raises it.
HARMLESS = {"UnpicklingError"}


def risks(source: str) -> list[str]:
    """Return what in a file's source reads pickles, or runs text as code or in a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in PICKLING]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PICKLING:
            found += [a.name for a in node.names if a.name not in HARMLESS]
        elif isinstance(node, ast.Call):
            found += _risks_of(ast.unparse(node.func), node)
    return found


def _risks_of(function: str, call: ast.Call) -> list[str]:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    wrong = (
        (function.endswith("torch.load") and given.get("weights_only") != "True")
        or function.endswith("read_pickle")
        or function in ("eval", "exec", "compile", "os.system", "os.popen")
        or (function.endswith("yaml.load") and "Safe" not in given.get("Loader", ""))
        or given.get("allow_pickle", "False") != "False"
        or given.get("trust_remote_code", "False") != "False"
        or given.get("shell", "False") != "False"
    )
    return [ast.unparse(call)] if wrong else []


@pytest.mark.slow
def test_no_file_of_the_package_reads_pickles_or_runs_text() -> None:
    found = {path: risks(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.slow
def test_files_are_read_where_there_is_no_gpu() -> None:
    """A file has the device of its tensors in it, and without one they cannot be read."""
    calls = [
        ast.unparse(node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
    ]
    assert calls
    assert [call for call in calls if "map_location='cpu'" not in call] == []


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import pickle", True),
        ("def f():\n    from pickle import loads", True),
        ("from pickle import UnpicklingError", False),
        ("import torch\ntorch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True, mmap=True)", False),
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f)", False),
        ("model.eval()", False),
        ("eval(text)", True),
        ("subprocess.run(text, shell=True)", True),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", True),
    ],
)
def test_what_is_looked_for_is_seen(source: str, seen: bool) -> None:
    assert bool(risks(source)) == seen


PIECES = st.lists(
    st.sampled_from(["..", ".", "/", "~", "a", "birds", "\0", " ", ":", "digits", "//"])
    | st.text(max_size=3),
    max_size=6,
).map("".join)


@pytest.mark.slow
@given(model=PIECES, dataset=PIECES, name=PIECES, language=st.booleans())
@settings(deadline=None, max_examples=300)
def test_a_runs_directory_is_four_folders_below_the_results_directory(
    model: str, dataset: str, name: str, language: bool
) -> None:
    values: dict[str, str] = {"results-dir": "/results", "run-name": name, "dataset": dataset}
    values |= {"task": "causal_lm", "model": model} if language else {}
    try:
        path = run_path(RunConfig.from_run_config(values))
    except ConfigError:
        return
    assert os.path.normpath(path) == str(path)
    assert len(path.relative_to("/results").parts) == 4


@pytest.mark.parametrize(("key", "value"), [("model", ".."), ("model", "a/.."), ("dataset", "/")])
def test_a_name_that_leads_elsewhere_is_refused(key: str, value: str) -> None:
    values = {"task": "causal_lm", "model": "m", "dataset": "d", key: value}
    with pytest.raises(ConfigError, match=rf"{key} = '{value}': its last part names a folder"):
        run_path(RunConfig.from_run_config(values))
