"""Which codec each kind of payload has, and what a message says of it."""

from dataclasses import asdict, dataclass, fields, replace

from ..codecs import CODECS, NONE, Codec, codec_named
from .records import AUXILIARY, CLIENT_HALF

# Keys of a coded message's configuration.
COMPRESSION = "fsl-sage-compression"
COUNTED = "fsl-sage-counted-round"


def held_key(record: str) -> str:
    """Return the key of the version of a record's weights that the receiver then holds."""
    return f"fsl-sage-held-{record}"


def base_key(record: str) -> str:
    """Return the key of the version that differences are against; absent, they are whole."""
    return f"fsl-sage-base-{record}"


@dataclass(frozen=True)
class Compression:
    """Names of the codecs, ``"none"`` or one of ``CODECS``.

    Attributes
    ----------
    smashed : str
        Of smashed data, on their way up.
    gradients : str
        Of SplitFed's gradients, on their way down.
    client_half_down, client_half_up : str
        Of client halves, or of FedAvg's whole models. Differences travel: down to what a node
        holds, up to what the client began the round with.
    auxiliary : str
        Of auxiliary heads, whichever way they travel, as differences too.

    Raises
    ------
    ValueError
        A codec is not known, or is too coarse for what it is named for.
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
                    f"{field.name} = {getattr(self, field.name)!r}: {problem}; a codec of your own "
                    "is known where the module that registers it is imported, on the server and "
                    "on every node"
                )

    def down(self, record: str) -> Codec | None:
        """Return the codec of a record of weights on its way down."""
        names = {CLIENT_HALF: self.client_half_down, AUXILIARY: self.auxiliary}
        return codec_named(names.get(record, NONE))

    def up(self, record: str) -> Codec | None:
        """Return the codec of a record of weights on its way up."""
        names = {CLIENT_HALF: self.client_half_up, AUXILIARY: self.auxiliary}
        return codec_named(names.get(record, NONE))

    @property
    def is_none(self) -> bool:
        """Whether everything travels as it is."""
        return self == Compression()

    def to_text(self) -> str:
        """Return the codecs in one line of a message."""
        return ",".join(f"{k}={name}" for k, name in asdict(self).items() if name != NONE)

    @classmethod
    def from_text(cls, text: str) -> "Compression":
        """Return what :meth:`to_text` was called on.

        Raises
        ------
        ValueError
            This process does not know a codec.
        """
        return cls(**dict(pair.split("=") for pair in text.split(",") if pair))


def problem_with_codec(payload: str, name: str) -> str | None:
    """Return why a codec cannot be used for a field of :class:`Compression`; None if it can."""
    coarse = payload != "client_half_up"
    valid = [NONE, *(n for n, codec in CODECS.items() if not (coarse and codec.needs_feedback))]
    return None if name in valid else f"valid are {', '.join(valid)}"


AS_COMPRESSION_SAYS = "auto"

PRESETS = {
    "none": Compression(),
    "light": Compression("q8", "q8", "q8", "q8", "q8"),
    "strong": Compression("q4", "q4", "q4", "q4", "q4"),
}
"""One word for all codecs."""


def compression_of(preset: str, **codecs: str) -> Compression:
    """Return a preset with some of its codecs replaced, unless they are ``"auto"``."""
    given = {field: name for field, name in codecs.items() if name != AS_COMPRESSION_SAYS}
    return replace(PRESETS[preset], **given)
