"""What the build of the docs site, which CI does, would not notice."""

import itertools
import re
from pathlib import Path

import pytest

import fsl_sage_flwr

ROOT = Path(__file__).parents[2]
FOLDERS = ("", "docs/*/", "benchmarks/", "examples/*/")
PAGES = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md")]
ITEM = re.compile(r" *([-*]|\d+\.) ")


def test_the_reference_has_every_public_name_once() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: fsl_sage_flwr\.(\w+)$", page, flags=re.M)
    assert sorted(names) == sorted(fsl_sage_flwr.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_list_begins_after_an_empty_line(page: Path) -> None:
    """On the repository's page it need not; on the site it would be a paragraph."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if ITEM.match(line):
            fine = not before or before.startswith(("#", " ")) or ITEM.match(before)
            assert fine, line
