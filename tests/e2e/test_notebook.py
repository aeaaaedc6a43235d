"""The notebook runs from top to bottom, and shows what it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.analysis import load_results

from .commands import PATIENCE, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.first]

NOTEBOOK = ROOT / "examples" / "notebook" / "first_steps.ipynb"


def shown(cell: dict[str, Any]) -> dict[str, str]:
    """Return what a cell shows, by MIME type."""
    found: dict[str, str] = {}
    for output in cell["outputs"]:
        assert output["output_type"] != "error"
        kinds = output.get("data") or {"text/plain": output.get("text", "")}
        for kind, text in kinds.items():
            found[kind] = found.get(kind, "") + str(text)
    return found


def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    # Raises where a cell does.
    NotebookClient(
        notebook,
        timeout=2 * PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    cells = {cell["id"]: cell for cell in json.loads(nbformat.writes(notebook))["cells"]}
    assert "layer3" in shown(cells["split"])["text/plain"]
    assert [output.get("output_type") for output in cells["run"]["outputs"]] in ([], ["stream"])
    assert "image/png" in shown(cells["plot"])

    last = load_results(tmp_path / "results").groupby("algorithm")["comm_bytes"].max()
    assert last["fsl_sage"] < last["sl_single_server"]
