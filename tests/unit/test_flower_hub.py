"""What the Flower Hub asks of an app and of its page.

Flower checks the app in ``flwr app publish``, which needs an account, and has no public function
for it. The rules are those of flwr 1.42 (``flwr.cli.app_cmd.publish`` and the constants in
``flwr.supercore.constant``) and of https://flower.ai/docs/hub/how-to-publish-app-on-hub.html.
"""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTENT = {".py", ".toml", ".md", ".yaml", ".yml", ".json", ".jsonl"}
BESIDE = {".gitignore", "LICENSE", "LICENSE.md"}
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, APP = TABLE["project"], TABLE["tool"]["flwr"]["app"]
IGNORED = (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def is_ignored(path: Path) -> bool:
    """Tell whether a line of .gitignore is about a path or a folder on the way to it."""
    first, *below = path.parts
    return any(
        fnmatch(part, line.strip("/"))
        for line in IGNORED
        for part in ([first] if line.startswith("/") else [first, *below])
    )


@pytest.fixture(scope="module")
def uploaded() -> list[Path]:
    """Return what ``flwr app publish`` would upload, relative to the checkout."""
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return [
        path
        for path in paths
        if (path.suffix in CONTENT or str(path) in BESIDE)
        and path.parts[0] not in (".git", ".flwr")
        and not is_ignored(path)
    ]


def test_the_name_is_one_that_the_hub_takes() -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", PROJECT["name"])
    assert len(PROJECT["name"]) <= 32


def test_the_page_has_a_description_a_version_a_license_and_a_publisher() -> None:
    assert 0 < len(PROJECT["description"].strip()) <= 200
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["license"]
    assert APP["publisher"]
    assert set(APP["components"]) == {"serverapp", "clientapp"}


def test_the_oldest_flower_is_said_where_the_hub_reads_it() -> None:
    (flower,) = [text for text in PROJECT["dependencies"] if re.match(r"flwr\b(?!-)", text)]
    assert re.search(r">=\d", flower)


def test_the_readme_says_how_to_simulate_and_where_a_nodes_data_come_from() -> None:
    """The Hub asks for the number of virtual SuperNodes, and for data in deployment."""
    (section,) = re.findall(
        r"## With plain Flower\n(.*?)\n##", (ROOT / "README.md").read_text(encoding="utf-8"), re.S
    )
    for word in ("flwr run . ", "num-supernodes=", "virtual SuperNodes", "data-path"):
        assert word in section


def test_the_files_are_what_the_hub_takes(uploaded: list[Path]) -> None:
    assert {Path(name) for name in ("pyproject.toml", "README.md", "LICENSE")} <= set(uploaded)
    assert len(uploaded) <= 1000
    assert max(len(path.parts) for path in uploaded) <= 10
    sizes = {path: (ROOT / path).stat().st_size for path in uploaded}
    assert {path for path, size in sizes.items() if size > 1024**2} == set()
    assert sum(sizes.values()) <= 10 * 1024**2


def test_the_files_are_text(uploaded: list[Path]) -> None:
    for path in uploaded:
        (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("results/a/history.json", True),
        ("docs/results/a.json", False),
        ("tests/unit/__pycache__/a.py", True),
        ("fsl_sage_flwr.egg-info/a.json", True),
        ("fsl_sage_flwr/inline.py", False),
    ],
)
def test_what_git_ignores_is_left_out(path: str, ignored: bool) -> None:
    assert is_ignored(Path(path)) == ignored
