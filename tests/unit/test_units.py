"""One format for percent and sizes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.units import MIB, byte_unit, mib, percent


@given(st.floats(0, 1))
def test_percent_is_read_back(fraction: float) -> None:
    text = percent(fraction)
    assert text.endswith(" %")
    assert float(text.removesuffix(" %")) == pytest.approx(100 * fraction, abs=0.0051)


@given(st.floats(0, 2.0**60))
def test_mebibytes_are_read_back(count: float) -> None:
    size = float(mib(count).replace(",", ""))
    tolerance = 0.051 if count >= MIB else 0.0051 * count / MIB + 1e-300
    assert math.isclose(size, count / MIB, abs_tol=tolerance)


def test_text_of_numbers() -> None:
    assert [percent(0.975), percent(1.0), percent(0.12345, 1)] == ["97.50 %", "100.00 %", "12.3 %"]
    sizes = [0, 0.0125 * MIB, MIB, 2**40]
    assert [mib(size) for size in sizes] == ["0.0", "0.0125", "1.0", "1,048,576.0"]


def test_bytes_have_the_unit_that_is_read() -> None:
    assert byte_unit(3 * 2**30) == (2**30, "GiB")
    assert byte_unit(3 * 2**20) == (2**20, "MiB")
    assert byte_unit(10) == (1.0, "bytes")
