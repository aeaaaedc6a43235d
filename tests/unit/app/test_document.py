"""What is written of the settings is derived from their declarations."""

import json
from pathlib import Path

import pytest

from fsl_sage_flwr.app.config import all_settings
from fsl_sage_flwr.app.document import derived, key_entries, main
from fsl_sage_flwr.config.key_table import own_keys, with_own_new_names


@pytest.mark.parametrize("file", derived(), ids=lambda file: file.name)
def test_a_derived_file_is_up_to_date(file: Path) -> None:
    """Write them by ``python -m fsl_sage_flwr.app.document --write``."""
    assert file.read_text(encoding="utf-8") == derived()[file]


def test_it_says_that_nothing_is_out_of_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == ""


def test_the_commands_table_is_that_of_the_declarations() -> None:
    assert own_keys() == key_entries()
    assert list(own_keys()) == list(all_settings())


def test_no_former_name_is_a_key_or_stands_for_two() -> None:
    old = [name for entry in all_settings().values() for name in entry.formerly]
    assert len(old) == len(set(old))
    assert not set(old) & set(all_settings())


def test_a_configuration_of_an_earlier_version_has_new_names() -> None:
    old = {"delta": 0.1, "auxiliary": "linear", "distribution": "noniid", "mine": 3}
    assert with_own_new_names(old) == {
        "privacy.delta": 0.1, "auxiliary.head": "linear", "distribution": "shards", "mine": 3,
    }  # fmt: skip


def test_every_default_can_be_written_in_one_table() -> None:
    """A TOML key cannot be a value and a group."""
    groups = {entry.group for entry in all_settings().values()}
    assert not groups & set(all_settings())
    json.dumps({key: entry.default for key, entry in all_settings().items()})
