"""What PyPI shows of the package, and how it is cited."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


@pytest.mark.parametrize("key", ["version", "license", "keywords", "authors"])
def test_the_citation_is_of_this_package(key: str) -> None:
    assert CITATION["title"] == PROJECT["name"]
    assert CITATION[key] == PROJECT[key]


def test_the_citation_has_the_paper_of_fsl_sage() -> None:
    (paper,) = CITATION["references"]
    assert paper["title"].startswith("FSL-SAGE: ")
    assert paper["authors"][0] == {"given-names": "Srijith", "family-names": "Nair"}
    links = {paper["url"], *(identifier["value"] for identifier in paper["identifiers"])}
    assert links == set(PROJECT["urls"].values())


def test_the_license_is_said_once() -> None:
    """With a license expression, PyPI refuses a classifier that names a license."""
    assert PROJECT["license"] == "Apache-2.0"
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])
    assert not [name for name in PROJECT["classifiers"] if name.startswith("License ::")]


def test_the_oldest_python_is_a_classifier() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["classifiers"]
