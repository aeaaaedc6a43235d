"""What was trained before the structure was changed is trained since, to the bit."""

import json
from functools import lru_cache
from typing import Any

import pytest

from ..golden import FILE, STRATEGIES, record_one, this_machine
from ..rows import rows

GOLDEN = json.loads(FILE.read_text())
ONE, OTHER = "BatchNorm, Adam, augmentation, late and lost clients", "several tensors, SGD, dropout"
HERE = (f"sl_multi_server: {OTHER}", f"fsl_sage: {ONE}")


@lru_cache
def same_machine() -> bool:
    return bool(GOLDEN["machine"] == this_machine())


@pytest.mark.skipif("not same_machine()", reason="recorded with another torch or kind of CPU")
@rows("case", GOLDEN["runs"], lambda case: case in HERE)
def test_nothing_has_changed(case: str) -> None:
    expected, found = GOLDEN["runs"][case], json.loads(json.dumps(record_one(case)))
    for row, was in zip(found.pop("history"), expected["history"], strict=True):
        assert row == was
    assert found == {key: value for key, value in expected.items() if key != "history"}


def test_every_algorithm_is_among_them() -> None:
    assert set(HERE) <= set(GOLDEN["runs"])
    names = {case.partition(":")[0] for case in GOLDEN["runs"]}
    assert names == set(STRATEGIES)
    assert all(len(run["history"]) == 4 for run in GOLDEN["runs"].values())


def test_the_lost_client_is_lost() -> None:
    def failed(run: Any) -> list[list[str]]:
        return [list(row["failures"]) for row in run["history"]]

    lost = [failed(run) for case, run in GOLDEN["runs"].items() if "lost" in case]
    assert lost == [[[], ["1"], [], ["1"]]] * len(STRATEGIES)
