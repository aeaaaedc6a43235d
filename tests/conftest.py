"""Integration tests run only when asked for: ``pytest -m integration``."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason="minutes long: pytest -m integration")
    for item in items:
        if "integration" in item.keywords:
            item.add_marker(skip)
