"""Whatever a state may hold comes back from its file as it was."""

from pathlib import Path

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.nodes.record_file import read_records, write_records

WHOLE, PARTS, NAMES = st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(max_size=5)
BYTES = st.binary(max_size=9)
CONFIGS = st.one_of(WHOLE, PARTS, NAMES, BYTES, st.booleans(), st.lists(BYTES, max_size=3))
METRICS = st.one_of(WHOLE, PARTS, st.lists(WHOLE, max_size=3))
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool])
TENSORS = st.builds(
    lambda shape, dtype: torch.randn(shape).to(dtype), st.lists(st.integers(0, 3)), DTYPES
)


def records(values: st.SearchStrategy, kind: type) -> st.SearchStrategy:
    return st.builds(kind, st.dictionaries(NAMES, values, max_size=3))


@pytest.mark.slow
@given(
    st.dictionaries(
        NAMES,
        st.one_of(
            records(CONFIGS, ConfigRecord),
            records(METRICS, MetricRecord),
            records(TENSORS, ArrayRecord),
        ),
        max_size=4,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_come_back_as_they_were(tmp_path: Path, found: dict) -> None:
    write_records(tmp_path / "state.pt", RecordDict(found))
    again = read_records(tmp_path / "state.pt")
    assert dict(again) == found
    assert list(again) == list(found)
    for name, record in again.items():
        assert type(record) is type(found[name])
        assert [type(v) for v in record.values()] == [type(v) for v in found[name].values()]
