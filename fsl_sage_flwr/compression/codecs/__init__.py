"""Code a tensor in few bytes, one file for each codec."""

from .codec import CODECS, NONE, Bits, Codec, codec_named, register_codec
from .exact import Exact
from .half_precision import HalfPrecision
from .quantised import Quantised
from .sign import Sign

__all__ = [
    "CODECS",
    "NONE",
    "Bits",
    "Codec",
    "Exact",
    "HalfPrecision",
    "Quantised",
    "Sign",
    "codec_named",
    "register_codec",
]
