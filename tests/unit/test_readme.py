"""The README says what is."""

from pathlib import Path

import pytest

from fsl_sage_flwr.config import RunConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["task", "client_app", "server_app"])
def test_the_section_for_own_projects_is_the_example(name: str) -> None:
    source = (ROOT / "examples" / "own-model" / "own_model" / f"{name}.py").read_text()
    assert f"```python\n# own_model/{name}.py\n{source}```" in README


@pytest.mark.parametrize("key", RunConfig().to_run_config())
def test_every_key_is_in_the_table(key: str) -> None:
    form = key.removeprefix("server-")  # "server-optimizer, server-learning-rate, …"
    assert f"`{key}`" in README or f"`{form}`" in README
