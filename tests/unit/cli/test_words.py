"""Words are parsed before anything heavy is imported, and a wrong one is answered in one line."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import fsl_sage_flwr
from fsl_sage_flwr import public
from fsl_sage_flwr.analysis.choices import PICTURES
from fsl_sage_flwr.app.config import ConfigError, RunConfig, all_defaults
from fsl_sage_flwr.attacks.measurement import Effort
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.cli.entry import COMMANDS
from fsl_sage_flwr.cli.mistakes import COMMANDS_ALSO_CALLED
from fsl_sage_flwr.config.key_names import ALSO_CALLED
from fsl_sage_flwr.config.key_table import likely_own_key, own_keys
from fsl_sage_flwr.registries import IMPORTS

from ...made_runs import make_run
from .words import arguments

HEAVY = ("torch", "flwr", "pandas", "datasets", "matplotlib", "pydantic")
NAMES = [function.__name__.removesuffix("_command") for function in COMMANDS]


def imported_by(words: list[str], cwd: Path, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """Return which heavy packages a command imports, in a process that must not fail."""
    code = f"""
import sys
from fsl_sage_flwr.cli import main
status = main({words!r})
print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
sys.exit(status not in (0, 2))
"""
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONPATH": root},
        capture_output=True, text=True, check=False, timeout=120, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.sample
@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["--version"], ["run", "--rounds", "5"], ["run", "-h"], ["run", "rounds=5"],
        ["keys", "privacy"], ["list", "models"], ["results", "nowhere"], ["foo"],
    ],
)  # fmt: skip
def test_nothing_heavy_is_imported_to_answer_words(words: list[str], tmp_path: Path) -> None:
    assert imported_by(words, tmp_path) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["results"], ["list", "algorithms"], ["compare", "{0}", "{1}"],
        ["plot", "--kind", "accuracy-rounds"], ["report"],
    ],
)  # fmt: skip
def test_what_reads_runs_imports_no_torch(words: list[str], tmp_path: Path) -> None:
    paths = [
        make_run(tmp_path / "results", [0.5, 0.75], algorithm=name, recorded=True)
        for name in ("fsl_sage", "cse_fsl")
    ]
    words = [word.format(*paths) for word in words]
    assert imported_by(words, tmp_path, ("torch", "flwr")) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fsl-sage re", {"results", "report"}),
        ("fsl-sage run learning", {"learning-rate="}),
        ("fsl-sage run --preset paper-ll", {"paper-llm"}),
        ("fsl-sage sweep --preset head", {"head-size"}),
        ("fsl-sage list mod", {"models"}),
        ("fsl-sage keys align.in", {"align.interval"}),
    ],
)
def test_the_shell_is_told_what_may_follow(line: str, offered: set[str]) -> None:
    asking = {
        "_FSL_SAGE_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }  # fmt: skip
    code = "from fsl_sage_flwr.cli import main; main()"
    answered = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asking}, check=True, timeout=60,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert {word.strip() for word in answered.stdout.split("\n")} - {""} == offered


@pytest.mark.slow
def test_an_app_that_would_know_no_algorithm_is_refused() -> None:
    code = """
from fsl_sage_flwr.client_apps import build_client_app
try:
    build_client_app(lambda context: None)
except RuntimeError as error:
    print(error)
from fsl_sage_flwr import build_client_app
build_client_app(lambda context: None)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.startswith("no algorithm is registered: write `from fsl_sage_flwr import")


def test_what_is_listed_is_what_there_is() -> None:
    assert fsl_sage_flwr.__all__ == public.__all__
    assert set(fsl_sage_flwr.__all__) <= set(dir(fsl_sage_flwr))
    assert fsl_sage_flwr.FslSage is public.FslSage
    with pytest.raises(AttributeError, match="has no attribute 'FslSagee'"):
        fsl_sage_flwr.FslSagee  # type: ignore[attr-defined]  # noqa: B018
    assert set(own_keys()) == set(all_defaults())
    assert len(PICTURES) == len(set(PICTURES))
    assert set(COMMANDS_ALSO_CALLED.values()) <= set(NAMES)


def test_the_defaults_of_a_measurement_are_those_of_the_library() -> None:
    given = arguments("leakage", "model=resnet18")
    assert {f.name: given[f.name] for f in fields(Effort)} == vars(Effort())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_help_explains_every_argument(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"Usage: fsl-sage {name} " in printed
    assert "--import" in printed
    # A line of the panel of arguments: its name, its metavar, its meaning.
    _, _, panel = printed.partition("─ Arguments ─")
    rows = [line for line in panel.partition("╰")[0].splitlines()[1:] if line.strip("│ ")]
    assert all(len(row.strip("│* ").split(maxsplit=2)) == 3 for row in rows[:1])


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert all(f" {name} " in capsys.readouterr().out for name in NAMES[:1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--rounds=5"], "--rounds is not an option; give it as num-server-rounds=5"),
        (["run", "--learning-rate", "x"], "give it as learning-rate=x"),
        (["run", "--rounds", "5"], "--rounds is not an option; give it as num-server-rounds=5"),
        (["run", "--rounds"], "--rounds is not an option; give it as num-server-rounds=…"),
        (["cuts", "--model", "resnet56"], "--model is not an option; give it as model=resnet56"),
        (["data", "--alpha=0.1"], "--alpha is not an option; give it as alpha=0.1"),
        (["leakage", "--dataset", "x"], "--dataset is not an option; give it as dataset=x"),
        (["run", "--gpu-per-client", "1"], "is not an option; did you mean --gpus-per-client?"),
        (["run", "--num-clients", "5"], "is not an option; did you mean --clients?"),
        (["plot", ".", "--out", "x"], "--out is not an option; did you mean --out-dir?"),
        (["plot", ".", "--rounds", "5"], "--rounds is not an option; fsl-sage plot --help lists"),
        (["compare", ".", ".", "c"], "too many words (c): fsl-sage compare [OPTIONS] A B"),
        (["run", "--wizard"], "--wizard is not an option; fsl-sage run --help lists the options"),
        (["run", "--clients", "0"], "Invalid value for '--clients': 0 is not in the range x>=1"),
        (["run", "--clients", "abc"], "Invalid value for '--clients': 'abc' is not a valid int"),
        (["cuts", "--image", "0", "8", "8"], "--image (0, 8, 8): each number must be at least 1"),
        (["results", ".", "--target", "x"], "'x' is not valid; give a number above 0"),
        (["results", ".", "--target", "nan"], "'nan' is not valid; give a number above 0"),
        (["run", "--gpus-per-client", "x"], "'x' is not valid; give a number from 0 to 1"),
        (["run", "--gpus-per-client", "auto"], "'auto' is not valid; give a number from 0 to 1"),
        (["run", "--gpus-per-client", "-1"], "'-1' is not valid; give a number from 0 to 1"),
        (["run", "--gpus-per-client", "nan"], "'nan' is not valid; give a number"),
        (["train"], "'train' is not a command; did you mean fsl-sage run?"),
        (["rusult"], "'rusult' is not a command; did you mean fsl-sage results?"),
        (["wizard"], "'wizard' is not a command; valid are run, sweep, runs, watch"),
        (["compare", "."], "Missing argument 'B'."),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fsl-sage: ")
    assert said in line


@pytest.mark.parametrize("name", [*ALSO_CALLED, "Learning_Rate", "batchsize", "num-rounds"])
def test_what_others_call_a_key_is_known(name: str) -> None:
    assert likely_own_key(name) in own_keys()


def test_a_key_of_another_name_is_hinted_at() -> None:
    with pytest.raises(ConfigError, match="unknown key 'lr': did you mean 'learning-rate'"):
        RunConfig.from_run_config({"lr": 0.1})


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["run", "seed=1", "lr=0.1"], ["sweep", "lr=1,2"], ["cuts", "lr=1"], ["data", "lr=1"],
        ["leakage", "lr=1"],
    ],
)  # fmt: skip
def test_a_wrong_key_is_known_before_torch_unless_a_module_may_declare_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == "fsl-sage: unknown key 'lr': did you mean 'learning-rate'?\n"
    monkeypatch.setenv(IMPORTS, "mine")
    assert arguments(*words)


def test_a_module_is_announced_before_the_keys_are_read() -> None:
    assert arguments("run", "lr=0.1", "--import", "mine")["imports"] == ["mine"]


@pytest.mark.parametrize("words", [["run", "seed=1"], ["leakage", "dir", "cut=x"]])
def test_right_keys_are_not_answered(words: list[str]) -> None:
    assert arguments(*words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["results", "runs", "watch", "plot", "report"])
def test_the_directory_of_results_has_one_default_and_must_exist(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.touch()
    for words, path, says in (
        ([str(tmp_path / "none")], tmp_path / "none", "does not exist"),
        ([str(file)], file, "is not a directory"),
        ([], "results", "does not exist"),
    ):
        assert main([name, *words]) == 2
        said = capsys.readouterr().err
        assert said == f"fsl-sage: '{path}' {says}; name a directory of results\n"
    (tmp_path / "results").mkdir()
    assert arguments(name)["directory"] == Path(all_defaults()["results-dir"])


def test_either_run_of_a_comparison_may_be_the_one_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(tmp_path), str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"fsl-sage: '{tmp_path / 'none'}' does not exist")
