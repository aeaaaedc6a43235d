"""Choose a codec for each kind of payload, and tell the receiver of a message."""

from dataclasses import asdict, dataclass, fields, replace

from ..messages.records import AUXILIARY, CLIENT_HALF
from .codecs import CODECS, NONE, Codec, codec_named

# Keys in the configuration of a coded request.
COMPRESSION = "fsl-sage-compression"
COUNTED = "fsl-sage-counted-round"


def held_key(record: str) -> str:
    """Return the key of the version of a record's weights that the receiver has afterwards."""
    return f"fsl-sage-held-{record}"


def base_key(record: str) -> str:
    """Return the key of the version that differences refer to; absent for whole weights."""
    return f"fsl-sage-base-{record}"


@dataclass(frozen=True)
class Compression:
    """Names of the codecs, ``"none"`` or one of ``CODECS``.

    Attributes
    ----------
    smashed : str
        Codes smashed data, up.
    gradients : str
        Codes SplitFed's gradients, down.
    client_half_down, client_half_up : str
        Code client halves, or FedAvg's whole models, as differences: down to the node's copy,
        up to the client's weights at the start of the round.
    auxiliary : str
        Codes auxiliary heads in both directions, as differences too.

    Raises
    ------
    ValueError
        A codec is unknown, or too coarse for its payload.
    """

    smashed: str = NONE
    gradients: str = NONE
    client_half_down: str = NONE
    client_half_up: str = NONE
    auxiliary: str = NONE

    def __post_init__(self) -> None:
        for field in fields(self):
            problem = problem_with_codec(field.name, getattr(self, field.name))
            if problem:
                raise ValueError(
                    f"{field.name} = {getattr(self, field.name)!r}: {problem}; for a codec of your "
                    "own, import the module that registers it on the server and on every node"
                )

    def down(self, record: str) -> Codec | None:
        """Return the codec of a record of weights from the server."""
        names = {CLIENT_HALF: self.client_half_down, AUXILIARY: self.auxiliary}
        return codec_named(names.get(record, NONE))

    def up(self, record: str) -> Codec | None:
        """Return the codec of a record of weights from a client."""
        names = {CLIENT_HALF: self.client_half_up, AUXILIARY: self.auxiliary}
        return codec_named(names.get(record, NONE))

    @property
    def is_none(self) -> bool:
        """Whether no payload is coded."""
        return self == Compression()

    def to_text(self) -> str:
        """Return the codecs as one text for a message."""
        return ",".join(f"{k}={name}" for k, name in asdict(self).items() if name != NONE)

    @classmethod
    def from_text(cls, text: str) -> "Compression":
        """Return the codecs that :meth:`to_text` wrote.

        Raises
        ------
        ValueError
            A codec is not registered in this process.
        """
        return cls(**dict(pair.split("=") for pair in text.split(",") if pair))


def problem_with_codec(payload: str, name: str) -> str | None:
    """Return why a codec cannot be used for a field of :class:`Compression`, or None."""
    coarse = payload != "client_half_up"
    valid = [NONE, *(n for n, codec in CODECS.items() if not (coarse and codec.needs_feedback))]
    return None if name in valid else f"valid are {', '.join(valid)}"


AS_COMPRESSION_SAYS = "auto"

PRESETS = {
    "none": Compression(),
    "light": Compression("q8", "q8", "q8", "q8", "q8"),
    "strong": Compression("q4", "q4", "q4", "q4", "q4"),
}
"""Values of ``compression``, each a choice of all codecs."""


def compression_of(preset: str, **codecs: str) -> Compression:
    """Return a preset with the given codecs; ``"auto"`` keeps the preset's codec."""
    given = {field: name for field, name in codecs.items() if name != AS_COMPRESSION_SAYS}
    return replace(PRESETS[preset], **given)
