"""Words are read before anything heavy is imported, and a wrong one is answered in one line."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import fsl_sage_flwr
from fsl_sage_flwr import public
from fsl_sage_flwr.analysis.comparison import Count
from fsl_sage_flwr.analysis.spread import Spread
from fsl_sage_flwr.app.config import ConfigError, RunConfig, all_defaults
from fsl_sage_flwr.attacks.measurement import Effort
from fsl_sage_flwr.command_line import absent_directory, parser, unknown_key
from fsl_sage_flwr.command_line.arguments.comparison import COUNTS, SPREADS
from fsl_sage_flwr.command_line.arguments.plot import KIND_NAMES
from fsl_sage_flwr.config.key_names import ALSO_CALLED
from fsl_sage_flwr.config.key_table import likely_own_key, own_keys
from fsl_sage_flwr.registries import IMPORTS
from fsl_sage_flwr.simulations.commands import command_named

HEAVY = ("torch", "flwr", "pandas", "datasets", "rich")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["run", "--rounds", "5"], ["run", "-h"], ["run", "rounds=5"]],
)
def test_nothing_heavy_is_imported_to_answer_words(words: list[str]) -> None:
    code = f"""
import sys
from fsl_sage_flwr.command import main
sys.argv = ["fsl-sage", *{words!r}]
try:
    sys.exit(main())
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        encoding="utf-8",
    )
    assert done.returncode == (2 if words[0] == "run" and "-h" not in words else 0), done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fsl-sage re", {"results", "report"}),
        ("fsl-sage run learning", {"learning-rate="}),
        ("fsl-sage run --preset paper-ll", {"paper-llm"}),
        ("fsl-sage list mod", {"models"}),
    ],
)
def test_the_shell_is_told_what_may_follow(line: str, offered: set[str], tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    asking = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_TYPE": "9",
        "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
    }  # fmt: skip
    code = "from fsl_sage_flwr.command import main; main()"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asking}, check=True, timeout=60
    )
    assert {word.strip() for word in answer.read_text(encoding="utf-8").split("\n")} == offered


@pytest.mark.integration
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
    (commands,) = (a for a in parser()._actions if a.metavar == "COMMAND")
    for name in commands.choices or ():
        assert command_named(name).__name__ == f"{name}_command"
    assert get_args(Count) == COUNTS
    assert get_args(Spread) == SPREADS
    assert set(own_keys()) == set(all_defaults())
    assert len(KIND_NAMES) == len(set(KIND_NAMES))


def test_the_defaults_of_a_measurement_are_those_of_the_library() -> None:
    options = parser().parse_args(["leakage", "model=resnet18"])
    assert {f.name: getattr(options, f.name) for f in fields(Effort)} == vars(Effort())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--rounds=5"], "--rounds=5 is no option; give it as num-server-rounds=5"),
        (
            ["run", "--learning-rate", "x"],
            "give it as learning-rate=x",
        ),
        (["run", "--rounds", "5"], "--rounds is no option; give it as num-server-rounds=5"),
        (["run", "--gpu-per-client", "1"], "is no option; did you mean --gpus-per-client?"),
        (["run", "--num-clients", "5"], "is no option; did you mean --clients?"),
        (["plot", "x", "--rounds", "5"], "unrecognized arguments: --rounds"),
        (["run", "--wizard"], "unrecognized arguments: --wizard"),
        (["run", "--clients", "0"], "'0' is not valid; give a whole number of at least 1"),
        (["run", "--clients", "abc"], "'abc' is not valid; give a whole number of at least 1"),
        (["results", ".", "--target", "x"], "'x' is not valid; give a number above 0"),
        (["run", "--gpus-per-client", "x"], "'x' is not valid; give auto, a number from 0 to 1"),
        (["run", "--gpus-per-client", "-1"], "'-1' is not valid; give auto, a number from 0 to 1"),
        (["run", "--gpus-per-client", "nan"], "'nan' is not valid; give auto"),
        (["train"], "invalid choice: 'train'"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("name", [*ALSO_CALLED, "Learning_Rate", "batchsize", "num-rounds"])
def test_what_others_call_a_key_is_known(name: str) -> None:
    assert likely_own_key(name) in own_keys()


def test_a_key_of_another_name_is_hinted_at() -> None:
    with pytest.raises(ConfigError, match="unknown key 'lr': did you mean 'learning-rate'"):
        RunConfig.from_run_config({"lr": 0.1})


@pytest.mark.parametrize("words", [["run", "seed=1", "lr=0.1"], ["sweep", "lr=1,2"]])
def test_a_wrong_key_is_known_before_torch_unless_a_module_may_declare_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "unknown key 'lr': did you mean 'learning-rate'?"
    assert unknown_key(parser().parse_args(words)) == said
    assert unknown_key(parser().parse_args([*words, "--import", "mine"])) is None
    monkeypatch.setenv(IMPORTS, "mine")
    assert unknown_key(parser().parse_args(words)) is None


@pytest.mark.parametrize(
    "words", [["run", "seed=1"], ["leakage", "dir", "cut=x"], ["results", "x"]]
)
def test_right_keys_are_not_answered(words: list[str]) -> None:
    assert unknown_key(parser().parse_args(words)) is None


@pytest.mark.parametrize("words", [["results"], ["runs"], ["watch"], ["plot"], ["report"]])
def test_a_directory_that_is_not_there_is_answered_before_anything_is_imported(words, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path, says in ((tmp_path / "none", "does not exist"), (file, "is not a directory")):
        said = absent_directory(parser().parse_args([*words, str(path)]))
        assert said == f"'{path}' {says}; name a directory of results"
    assert absent_directory(parser().parse_args([*words, str(tmp_path)])) is None


def test_either_run_of_a_comparison_may_be_the_one_that_is_not_there(tmp_path):
    words = ["compare", str(tmp_path), str(tmp_path / "none")]
    assert absent_directory(parser().parse_args(words)).startswith(f"'{tmp_path / 'none'}' does")
