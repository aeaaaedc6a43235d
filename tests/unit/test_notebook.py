"""The notebook as it is kept; `tests/e2e/test_notebook.py` runs it."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = ROOT / "examples" / "notebook" / "first_steps.ipynb"
CELLS = json.loads(PATH.read_text(encoding="utf-8"))["cells"]


def test_it_is_kept_without_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})


def test_its_links_lead_somewhere() -> None:
    text = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    assert [link for link in links if not (PATH.parent / link).exists()] == []
