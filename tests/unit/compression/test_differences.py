"""Coded arrays of a message, and weights as differences to what the receiver holds."""

import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.compression import CODECS, PRESETS, compression_of
from fsl_sage_flwr.compression.arrays import SMALLEST_GROUP, Layout, decoded, encoded, scale_axes
from fsl_sage_flwr.compression.differences import (
    code_weights,
    code_whole,
    decode_weights,
    decode_whole,
)
from fsl_sage_flwr.messages import BadReplyError, CommunicationLedger
from fsl_sage_flwr.messages.reply import content_of

from ...memory_grid import MemoryGrid

Q4 = CODECS["q4"]
WEIGHTS = {
    "conv.weight": torch.randn(8, 3, 5, 5),
    "norm.running_var": torch.rand(8),
    "norm.num_batches_tracked": torch.tensor(3),
}


def moved(weights: dict[str, torch.Tensor], by: float = 0.01) -> dict[str, torch.Tensor]:
    return {
        name: t + by * torch.randn_like(t) if t.is_floating_point() else t + 1
        for name, t in weights.items()
    }


@pytest.mark.parametrize(
    ("layout", "shape", "axes"),
    [
        (Layout.WEIGHTS, (128, 64, 3, 3), (0,)),
        (Layout.WEIGHTS, (128, 16), ()),  # sixteen values a channel share one scale
        (Layout.SMASHED, (256, 64, 8, 8), (1,)),
        (Layout.SMASHED, (256, 512), (1,)),
        (Layout.SMASHED, (8, 128, 768), (2,)),
        (Layout.SMASHED, (4, 512), ()),
        (Layout.GRADIENTS, (256, 64, 8, 8), (0, 1)),
        (Layout.GRADIENTS, (256, 64, 4, 4), (0,)),
        (Layout.GRADIENTS, (256, 10), ()),
    ],
)
def test_scales_are_per_channel_where_a_channel_is_large(
    layout: Layout, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    assert scale_axes(layout, shape) == axes


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 7), max_size=5).map(tuple),
    st.sampled_from(list(CODECS)),
    st.sampled_from(list(Layout)),
    st.sampled_from([torch.float32, torch.float16, torch.float64, torch.int64, torch.bool]),
)
def test_any_tensor_comes_back_in_its_shape_and_dtype(
    shape: tuple[int, ...], name: str, layout: Layout, dtype: torch.dtype
) -> None:
    tensor = torch.randn(shape).to(dtype)
    array = encoded(tensor, CODECS[name], layout)
    found = decoded(array, CODECS[name], layout, shape, dtype)
    assert (found.shape, found.dtype) == (tensor.shape, dtype)
    if array.stype == "fsl-sage.exact":
        assert torch.equal(found, tensor)


@pytest.mark.parametrize("name", CODECS)
def test_both_sides_hold_the_same_bits_however_often(name: str) -> None:
    codec, now = CODECS[name], WEIGHTS
    whole = code_whole(now, CODECS["q8"])
    sender = receiver = decode_whole(dict(whole.record))
    for key, tensor in whole.received.items():
        assert torch.equal(tensor, receiver[key])
    for _ in range(4):
        now = moved(now)
        coded = code_weights(now, sender, codec)
        sender, receiver = coded.received, decode_weights(dict(coded.record), receiver, codec)
        for key, tensor in sender.items():
            assert torch.equal(tensor, receiver[key])
    assert torch.equal(receiver["norm.running_var"], now["norm.running_var"])
    assert torch.equal(receiver["norm.num_batches_tracked"], now["norm.num_batches_tracked"])


@pytest.mark.slow
def test_error_feedback_sends_in_the_end_what_was_lost() -> None:
    """The mean of what arrives goes to what was sent; without feedback it does not."""
    base = {"w": torch.zeros(4, 100)}
    wanted = {"w": torch.randn(4, 100)}
    codec, rounds = CODECS["sign"], 400

    def mean_error(feedback: bool) -> float:
        total, residual = torch.zeros(4, 100), None
        for _ in range(rounds):
            coded = code_weights(wanted, base, codec, residual)
            total += coded.received["w"]
            residual = coded.residual if feedback else None
        return float((total / rounds - wanted["w"]).norm() / wanted["w"].norm())

    assert mean_error(feedback=True) < 0.05
    assert mean_error(feedback=False) > 0.5


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (Array("float32", (8, 3, 5, 4), "fsl-sage.q4", b""), "is needed"),
        (Array("float64", (8, 3, 5, 5), "fsl-sage.q4", b""), "is needed"),
        (Array("float32", (8, 3, 5, 5), "fsl-sage.q8", b""), "serialized as 'fsl-sage.q8'"),
        (Array("float32", (8, 3, 5, 5), "fsl-sage.exact", b""), "serialized as"),
        (Array(torch.zeros(8, 3, 5, 5).numpy()), "serialized as 'numpy.ndarray'"),
    ],
)
def test_what_is_coded_otherwise_is_refused(array: Array, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decoded(array, Q4, Layout.WEIGHTS, (8, 3, 5, 5), torch.float32)


def reply_of(*arrays: Array) -> Message:
    MemoryGrid(ClientApp(), 1)  # a message is of a run
    record = ArrayRecord({str(i): array for i, array in enumerate(arrays)})
    return Message(RecordDict({"smashed": record}), 1, "train")


def test_the_limit_counts_what_codes_become() -> None:
    small = encoded(torch.zeros(1000, 1000), Q4, Layout.SMASHED)
    assert len(small.data) < 200_000
    content_of(reply_of(small), 5 * 10**6)
    with pytest.raises(BadReplyError, match=r"a reply of 3\.8 MiB; at most 2\.9"):
        content_of(reply_of(small), 3 * 10**6)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("f4,f4", (3,)), ("object", (3,)), ("float32", (-3,))]
)
def test_what_no_tensor_can_be_is_refused_in_words(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadReplyError, match="a coded array"):
        content_of(reply_of(Array(dtype, shape, "fsl-sage.q4", b"")), 10**6)


def test_the_reference_counts_raw_tensors_and_believes_no_wonder() -> None:
    ledger, tensor = CommunicationLedger(), torch.randn(64, 300)
    array = encoded(tensor, Q4, Layout.SMASHED)
    ledger.add("up", RecordDict({"smashed": ArrayRecord({"0": array})}))
    assert ledger.reference_total == 4 * tensor.numel()
    assert ledger.total == len(array.data) + len("0")
    wonder = Array("float32", (10**9, 10**9), "fsl-sage.q4", b"1234")
    ledger.add("up", RecordDict({"smashed": ArrayRecord({"0": wonder})}))
    assert ledger.reference_total == 4 * tensor.numel() + 4 * 256


def test_a_preset_sets_what_is_not_given() -> None:
    found = compression_of("strong", smashed="none", client_half_up="sign", gradients="auto")
    assert (found.smashed, found.client_half_up, found.gradients) == ("none", "sign", "q4")
    assert type(found).from_text(found.to_text()) == found
    assert PRESETS["none"].is_none
    assert not PRESETS["light"].is_none
    with pytest.raises(ValueError, match=r"smashed = 'sign': valid are none, f16, q8"):
        compression_of("none", smashed="sign")


def test_valid_codecs_do_not_list_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing imports extensions; they import this package, which makes these on import."""

    def no_listing(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(type(CODECS), "_load", no_listing)
    assert compression_of("strong", client_half_up="sign", smashed="none").gradients == "q4"


def test_a_group_has_enough_values_for_its_scale() -> None:
    for layout in Layout:
        for shape in [(256, 64, 8, 8), (32, 10), (3, 3, 3, 3), (100,), (7, 5, 90)]:
            axes = scale_axes(layout, shape)
            groups = 1
            for axis in axes:
                groups *= shape[axis]
            assert not axes or torch.Size(shape).numel() >= SMALLEST_GROUP * groups
