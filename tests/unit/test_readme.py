"""The README says what is."""

import re
from pathlib import Path

import pytest

from fsl_sage_flwr.app.config import all_defaults

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["task", "client_app", "server_app"])
def test_the_section_for_own_projects_is_the_example(name: str) -> None:
    source = (ROOT / "examples" / "own-model" / "own_model" / f"{name}.py").read_text(
        encoding="utf-8"
    )
    assert f"```python\n# own_model/{name}.py\n{source}```" in README


@pytest.mark.parametrize("name", ["own-model", "split-gpt2"])
def test_an_examples_readme_sets_what_flower_needs_before_it_starts(name: str) -> None:
    """Flower would install the example's dependencies from PyPI for each run."""
    _, _, commands = (
        (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8").partition("```\n")
    )
    variable, run = "export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1", "flwr run . --stream"
    assert -1 < commands.find(variable) < commands.find(run)


def documented() -> dict[str, str]:
    """Return the defaults of the table in docs/configuration.md, as they stand there."""
    table = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split("\n## ")[0]
    found: dict[str, str] = {}
    for row in re.findall(r"^\| (`.*?) \| (.*?)\| ", table, flags=re.M):
        keys = re.findall(r"`([\w-]+)`", row[0])
        defaults = [text.strip(" `") for text in row[1].split(",")]
        if len(defaults) == 1:
            defaults *= len(keys)
        found |= dict(zip(keys, defaults, strict=True))
    return found


def test_the_configuration_reference_has_every_key_and_no_other() -> None:
    assert set(documented()) == set(all_defaults())


@pytest.mark.parametrize(("key", "default"), all_defaults().items())
def test_the_configuration_reference_has_the_defaults(key: str, default: object) -> None:
    text = documented()[key]
    assert type(default)(text == "true" if isinstance(default, bool) else text) == default


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")
    ):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
