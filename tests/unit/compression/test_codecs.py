"""What every codec keeps, in one table: how large its error may be, and what it refuses."""

import re
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsl_sage_flwr.compression.codecs import CODECS, Bits, Codec, Exact, codec_named
from fsl_sage_flwr.compression.codecs.frame import inflated, packed, packed_bytes, unpacked

every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)

# Largest error of a value as a share of its group's largest: half a step, signed and square-root.
HALF_STEP = {
    "q8": (1 / 254, 1 / 510),
    "q4": (1 / 14, 1 / 30),
    "q3": (1 / 6, 1 / 14),
    "q2": (1 / 2, 1 / 6),
}


def values(seed: int, shape: tuple[int, ...], size: float, positive: bool) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size
    return drawn.relu() if positive else drawn


tensors = st.builds(
    values,
    st.integers(0, 2**32),
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    st.sampled_from([1e-30, 1e-7, 1.0, 1e9]),
    st.booleans(),
)


@pytest.mark.slow
@every_codec
@settings(max_examples=25, deadline=None)
@given(tensor=tensors, data=st.data())
def test_what_is_decoded_is_near_to_what_was_coded(
    codec: Codec, tensor: Tensor, data: st.DataObject
) -> None:
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, tensor.dim() - 1)))))
    coded = codec.encode(tensor, axes)
    decoded = codec.decode(coded, tuple(tensor.shape), axes)
    assert decoded.shape == tensor.shape
    assert decoded.dtype == torch.float32
    assert torch.equal(decoded, codec.decode(codec.encode(tensor, axes), tuple(tensor.shape), axes))
    others = [axis for axis in range(tensor.dim()) if axis not in axes]
    largest = tensor.abs().amax(dim=others, keepdim=True) if others else tensor.abs()
    if codec.name in HALF_STEP:
        signed, square_root = HALF_STEP[codec.name]
        error = (decoded - tensor).abs()
        if bool((tensor >= 0).all()):
            error, signed = (decoded.sqrt() - tensor.sqrt()).abs(), square_root
            largest = largest.sqrt()
        assert bool((error <= largest * signed * 1.001 + 1e-37).all())
    elif codec.name == "f16":
        assert bool(((decoded - tensor).abs() <= tensor.abs().max() * 2.0**-11).all())
    else:
        assert bool(((decoded >= 0) == (tensor >= 0)).all() | (largest == 0).any())


@every_codec
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_stays_none(codec: Codec, bad: float) -> None:
    """A client that diverged must not look like one that did not."""
    tensor = torch.randn(4, 40)
    tensor[2, 7] = bad
    with pytest.raises(ValueError, match="scale"):
        codec.decode(codec.encode(tensor, (0,)), (4, 40), (0,))


def test_zeros_stay_zeros_beside_others() -> None:
    tensor = torch.zeros(3, 100)
    tensor[1] = torch.randn(100)
    for name in ("q8", "q4", "q3", "q2"):
        decoded = CODECS[name].decode(CODECS[name].encode(tensor, (0,)), (3, 100), (0,))
        assert torch.equal(decoded[0], tensor[0])
        assert bool(decoded[1].any())


def cut(data: bytes) -> bytes:
    return data[:-2]


def cut_in_the_scales(data: bytes) -> bytes:
    return data[:7]


def longer(data: bytes) -> bytes:
    return data + b"x"


def another_flag(data: bytes) -> bytes:
    return b"\x07" + data[1:]


def scale(value: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        return data[:1] + np.array(value, "<f4").tobytes() + data[5:]

    return change


def bomb(data: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return data[:17] + coder.compress(bytes(2**26)) + coder.flush()


BAD = {
    "empty": lambda data: b"",
    "cut": cut,
    "cut in the scales": cut_in_the_scales,
    "longer": longer,
    "another flag": another_flag,
    "NaN scale": scale(np.nan),
    "infinite scale": scale(np.inf),
    "negative scale": scale(-1.0),
    "scale of 1e38": scale(1e38),
    "bomb": bomb,
}


@pytest.mark.sample
@every_codec
@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_bytes_that_are_no_code_are_refused(codec: Codec, change: Callable[..., bytes]) -> None:
    tensor = torch.randn(4, 25_000)
    data = change(codec.encode(tensor, (0,)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"scale|values|byte"):
            codec.decode(data, (4, 25_000), (0,))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 4 * tensor.numel()


@pytest.mark.parametrize("name", ["q8", "q4", "q3", "q2"])
def test_a_scale_of_zero_has_no_values(name: str) -> None:
    data = scale(0.0)(CODECS[name].encode(torch.randn(4, 250), (0,)))
    with pytest.raises(ValueError, match="scale 0"):
        CODECS[name].decode(data, (4, 250), (0,))


def test_a_code_that_the_width_does_not_have_is_refused() -> None:
    tensor = torch.randn(1000)
    q3, q4 = CODECS["q3"], CODECS["q4"]  # stored alike, and three bits have fewer values
    with pytest.raises(ValueError, match="above 6"):
        q3.decode(q4.encode(tensor, ()), (1000,), ())


@given(st.binary(max_size=200), st.sampled_from([1, 2, 4, 8]))
def test_packing_is_undone(data: bytes, width: int) -> None:
    codes = np.frombuffer(data, np.uint8) & np.uint8(2**width - 1)
    found = packed(codes, width)
    assert len(found) == packed_bytes(len(codes), width)
    assert np.array_equal(unpacked(found, len(codes), width), codes)


@pytest.mark.slow
def test_nothing_is_inflated_beyond_what_is_expected() -> None:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = coder.compress(bytes(2**28)) + coder.flush()
    tracemalloc.start()
    with pytest.raises(ValueError, match="are not the 1000 bytes"):
        inflated(data, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32, torch.uint8])
def test_exact_is_exact(dtype: torch.dtype) -> None:
    tensor = (torch.randn(3, 5) * 3).to(dtype)
    assert torch.equal(Exact().decode(Exact().encode(tensor), (3, 5), dtype), tensor)


@pytest.mark.slow
def test_coded_bits_are_about_what_is_reckoned_with() -> None:
    """On values as in a network; zlib builds may differ a little."""
    weights, smashed = values(1, (128, 1152), 1e-4, False), values(2, (64, 64, 16, 16), 1.0, True)
    for codec in CODECS.values():
        bits = [8 * len(codec.encode(t, (0,))) / t.numel() for t in (weights, smashed)]
        assert bits[0] == pytest.approx(codec.bits.weights, rel=0.45)
        if not codec.needs_feedback:
            assert bits[1] == pytest.approx(codec.bits.activations, rel=0.3)


class Doubled(Codec):
    name = "doubled"
    bits = Bits(64.0, 64.0, 64.0)

    def encode(self, tensor: Tensor, axes: tuple[int, ...]) -> bytes:
        return tensor.double().numpy().tobytes()

    def decode(self, data: bytes, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.frombuffer(data, np.float64).copy()).float().view(shape)


def test_a_codec_comes_from_anywhere() -> None:
    CODECS.register("doubled", Doubled())
    try:
        assert isinstance(codec_named("doubled"), Doubled)
        with pytest.raises(ValueError, match="registered already"):
            CODECS.register("doubled", Doubled())
        valid = ", ".join(["none", *CODECS])
        said = f"codec 'double': valid are {valid}; did you mean 'doubled'?"
        with pytest.raises(ValueError, match=re.escape(said)):
            codec_named("double")
    finally:
        CODECS.remove("doubled")
    assert codec_named("none") is None
    with pytest.raises(ValueError, match="codec 'none' is registered already"):
        CODECS.register("none", Doubled())
    with pytest.raises(ValueError, match="codec 'twice' is named 'doubled'"):
        CODECS.register("twice", Doubled())
