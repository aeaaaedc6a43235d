"""Compress messages: codecs, differences of weights, and both sides of their synchronisation."""

from .codecs import CODECS, NONE, Bits, Codec, codec_named
from .settings import AS_COMPRESSION_SAYS, PRESETS, Compression, compression_of, problem_with_codec

__all__ = [
    "AS_COMPRESSION_SAYS",
    "CODECS",
    "NONE",
    "PRESETS",
    "Bits",
    "Codec",
    "Compression",
    "codec_named",
    "compression_of",
    "problem_with_codec",
]
