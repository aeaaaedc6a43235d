"""Code a tensor in few bytes, one file for each codec."""

from typing import TYPE_CHECKING

from ...registries import renamed
from .codec import CODECS, NONE, Bits, Codec, Operations, codec_named
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
    "Operations",
    "Quantised",
    "Sign",
    "codec_named",
]

if not TYPE_CHECKING:  # a type checker would take any name for one that exists
    __getattr__ = renamed(register_codec="CODECS.register(codec.name, codec)")
