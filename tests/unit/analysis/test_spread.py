import math

import pandas as pd
import pytest

from fsl_sage_flwr.analysis.spread import half_width, over_seeds


def test_the_half_widths_are_those_of_a_textbook():
    values = pd.Series([1.0, 2.0, 3.0, math.nan])
    assert half_width(values, "deviation") == pytest.approx(1.0)
    # Student's t for two degrees of freedom and 95 %: 4.303.
    assert half_width(values, "confidence") == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)


@pytest.mark.parametrize("spread", ["deviation", "confidence"])
def test_one_seed_has_none(spread):
    assert math.isnan(half_width(pd.Series([1.0]), spread))
    rows = pd.DataFrame({"at": ["a"], "seed": [1], "figure": [0.5]})
    assert over_seeds(rows, ["at"], "figure", spread).loc["a"].tolist() == [0.5, 0.0, 1]


def test_each_seed_counts_once():
    rows = pd.DataFrame(
        {"at": ["a", "a", "a", "b"], "seed": [1, 1, 2, 1], "figure": [0.0, 1.0, 1.0, 3.0]}
    )
    found = over_seeds(rows, ["at"], "figure", "deviation")
    assert found["mean"].tolist() == [0.75, 3.0]
    assert found["seeds"].tolist() == [2, 1]
