"""The README, the examples and the pages of docs agree with the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorials" / "own-model.md").read_text(encoding="utf-8")


def test_the_readme_is_a_first_screen_and_links() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("name", ["task", "client_app", "server_app"])
def test_the_tutorial_for_an_own_model_is_the_example(name: str) -> None:
    source = (ROOT / "examples" / "own-model" / "own_model" / f"{name}.py").read_text(
        encoding="utf-8"
    )
    assert f"```python\n# own_model/{name}.py\n{source}```" in TUTORIAL


def test_the_tutorials_project_is_the_examples() -> None:
    project = (ROOT / "examples" / "own-model" / "pyproject.toml").read_text(encoding="utf-8")
    assert f"\n{project}```" in TUTORIAL


@pytest.mark.parametrize("name", ["own-model", "split-gpt2", "bert", "unet"])
def test_an_examples_readme_sets_what_flower_needs_before_it_starts(name: str) -> None:
    """Flower would install the example's dependencies from PyPI for each run."""
    _, _, commands = (
        (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8").partition("```\n")
    )
    variable, run = "export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1", "flwr run . --stream"
    assert -1 < commands.find(variable) < commands.find(run)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += [*sorted((ROOT / "examples").glob("*/README.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")
    ):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
