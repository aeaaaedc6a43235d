"""A declaration checks values of its setting, and of the argument of the same name."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from fsl_sage_flwr.config import (
    Options,
    SettingError,
    check_arguments,
    read_options,
    setting,
    settings_of,
    values_of,
)


@dataclass(frozen=True)
class Mine(Options):
    interval: int = setting(2, "rounds between two", key="mine.interval", ge=1, unit="rounds")
    share: float = setting(0.5, "a fraction", gt=0, le=1)
    norm: float = setting(0.0, "a norm", ge=0)
    free: float = setting(1.0, "any number")
    mode: str = setting(
        "slow", "how fast", choices=("slow", "fast"), renamed_values={"old": "slow"}
    )
    on: bool = setting(False, "a switch")


@dataclass(frozen=True)
class Theirs(Mine):
    PREFIX = "their-"
    SUFFIX = ", theirs"


def test_the_class_attribute_is_the_default() -> None:
    assert (Mine.interval, Mine().interval) == (2, 2)


def test_keys_are_the_names_unless_they_are_given() -> None:
    assert list(settings_of(Mine)) == ["mine.interval", "share", "norm", "free", "mode", "on"]
    assert settings_of(Theirs)["their-share"].doc == "a fraction, theirs"
    assert settings_of(Mine)["mine.interval"].group == "mine"


def test_options_are_read_from_keys_and_give_them_back() -> None:
    read = read_options(Mine, {"mine.interval": 7, "other": 3})
    assert read == Mine(interval=7)
    assert values_of(read)["mine.interval"] == 7


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("mine.interval", 0, "mine.interval = 0: it must be at least 1"),
        ("mine.interval", 1.0, "mine.interval = 1.0: a whole number is needed"),
        ("mine.interval", True, "mine.interval = True: a whole number is needed"),
        ("share", 0.0, "share = 0.0: it must be above 0 and at most 1"),
        ("share", math.nan, "share = nan: it must be above 0 and at most 1"),
        ("norm", math.inf, "norm = inf: it must be at least 0 and finite"),
        ("mode", 3, "mode = 3: text is needed"),
        ("on", 1, "on = 1: true or false is needed"),
        ("free", 2**63, f"free = {2**63}: it must be at most 2**63 - 1"),
    ],
)
def test_another_type_or_a_value_out_of_bounds_is_refused(key: str, value: Any, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        settings_of(Mine)[key].converted(value)
    assert str(caught.value) == says


def test_a_whole_number_is_a_number() -> None:
    found = settings_of(Mine)["share"].converted(1)
    assert (found, type(found)) == (1.0, float)
    assert settings_of(Mine)["free"].converted(math.inf) == math.inf


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("fast", None),
        ("fsat", "valid are slow, fast; did you mean 'fast'?"),
        ("old", "it is now called 'slow'; give that"),
    ],
)
def test_a_text_is_one_of_the_choices(value: str, problem: str | None) -> None:
    assert settings_of(Mine)["mode"].problem(value) == problem


def test_arguments_are_refused_by_their_names() -> None:
    check_arguments(Mine, interval=1, share=1)
    with pytest.raises(ValueError, match=r"^interval = 0: it must be at least 1$"):
        check_arguments(Mine, share=0.5, interval=0)
    with pytest.raises(ValueError, match=r"^mode = 'quick': valid are slow, fast$"):
        check_arguments(Mine, mode="quick")
