"""Settings of the codecs, one for each payload."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..compression import (
    AS_COMPRESSION_SAYS,
    NONE,
    PRESETS,
    Compression,
    compression_of,
    problem_with_codec,
)
from ..config import Check, Options, setting


def _codec(payload: str) -> Check:
    """Accept the codecs of a field of ``Compression``, and ``auto``."""

    def check(value: Any) -> str | None:
        if value == AS_COMPRESSION_SAYS:
            return None
        problem = problem_with_codec(payload, str(value))
        return problem and f"{problem}, and {AS_COMPRESSION_SAYS}, which follows compression"

    return check


def _codec_setting(payload: str, doc: str, formerly: str) -> Any:
    return setting(
        AS_COMPRESSION_SAYS,
        f"codec of {doc}",
        key=f"codec.{payload.replace('_', '-')}",
        formerly=(formerly,),
        check=_codec(payload),
    )


@dataclass(frozen=True)
class CodecOptions(Options):
    """A preset, and the codecs that differ from it."""

    compression: str = setting(
        NONE, "codecs of all payloads: `light` has 8 bits per value, `strong` 4", choices=PRESETS
    )
    smashed: str = _codec_setting("smashed", "smashed data", "smashed-codec")
    gradients: str = _codec_setting("gradients", "gradients of smashed data", "gradients-codec")
    client_half_down: str = _codec_setting(
        "client_half_down", "the client half on its way to a client", "client-half-codec-down"
    )
    client_half_up: str = _codec_setting(
        "client_half_up", "the client half on its way to the server", "client-half-codec-up"
    )
    auxiliary: str = _codec_setting("auxiliary", "auxiliary heads", "auxiliary-codec")

    def codecs(self, unused: Collection[str]) -> Compression:
        """Return the codecs; ``none`` for the payloads whose keys are unused."""
        names = _names(self)
        found = compression_of(self.compression, **names)
        without = [name for name in names if f"codec.{name.replace('_', '-')}" in unused]
        return replace(found, **dict.fromkeys(without, NONE))


def _names(options: CodecOptions) -> Mapping[str, str]:
    payloads = (f.name for f in fields(options) if f.name != "compression")
    return {name: getattr(options, name) for name in payloads}
