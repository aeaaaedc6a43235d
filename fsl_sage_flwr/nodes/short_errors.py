"""A Flower mod that says of an error no more than the server needs.

Flower sends the text of what a ClientApp raises to the server, which writes it to its log and its
results. Errors about data name files, and the names of files may name persons.
"""

import re

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from ..messages import in_actor

LONGEST = 300
_LOOKED_AT = 4000  # characters: an error may quote a table
_HIDDEN = "<file>"
_SUFFIXES = (
    "arrow avi bin bmp ckpt csv dat dcm doc docx edf feather flac gif gz h5 hdf5 heic jpeg jpg "
    "json jsonl log mat md mha mhd mp3 mp4 nii nrrd npy npz parquet pdf pickle pkl png pt pth "
    "safetensors svs tar tgz tif tiff toml tsv txt wav webp xls xlsx xml yaml yml zip"
)
_SUFFIX = rf"\.(?:{'|'.join(_SUFFIXES.split())})(?!\w)"
_ROOTED = r"(?:~[\w.-]*|\.{1,2}|[A-Za-z]:|file:/?)?[/\\]"
_FILES = re.compile(
    # In quotes: a rooted path, or a name with a file's suffix; both may have blanks in them.
    rf"(?P<quote>['\"`])(?:{_ROOTED}[^'\"`\n]*|[^'\"`\n]*{_SUFFIX}[^'\"`\n]*)(?P=quote)"
    # Without: up to the next blank or bracket.
    rf"|(?<![\w<./\\]){_ROOTED}[^\s'\"`<>()\[\]{{}}|,;]+"
    rf"|[^\s'\"`<>()\[\]{{}}|,;=]+{_SUFFIX}",
    re.IGNORECASE,
)


class NodeError(RuntimeError):
    """A message could not be answered; the node's own log has the whole error."""


def short_errors_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Replace an error by one of a line without names of files.

    In a simulation errors stay as they are: whoever reads them has the files.

    Raises
    ------
    NodeError
        The error that the answer to the message raised. Flower logs both on the node.
    """
    if in_actor():
        return call_next(message, context)
    try:
        return call_next(message, context)
    except Exception as error:  # whatever it is, Flower would send its text
        raise NodeError(without_files(error)) from error


def without_files(error: BaseException) -> str:
    """Return the kind and the text of an error in a line of 300 characters, without files."""
    text = str(error)
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        if name is not None:
            text = text.replace(repr(name), _HIDDEN).replace(str(name), _HIDDEN)
    line = " ".join(_FILES.sub(_HIDDEN, text[:_LOOKED_AT]).split())
    line = f"{type(error).__name__}: {line}"
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"
