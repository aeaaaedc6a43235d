"""Flower mod that shortens errors before they are sent to the server.

Flower sends the text of a ClientApp's exception to the server, which writes it to its log and
results. Errors about data name files, and file names may identify persons.
"""

import re

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from ..messages import in_actor

LONGEST = 300
_LOOKED_AT = 4000  # characters of the text that are searched: an error may quote a table
_HIDDEN = "<file>"
_SUFFIXES = (
    "arrow avi bin bmp ckpt csv dat dcm doc docx edf feather flac gif gz h5 hdf5 heic jpeg jpg "
    "json jsonl log mat md mha mhd mp3 mp4 nii nrrd npy npz parquet pdf pickle pkl png pt pth "
    "safetensors svs tar tgz tif tiff toml tsv txt wav webp xls xlsx xml yaml yml zip"
)
_SUFFIX = rf"\.(?:{'|'.join(_SUFFIXES.split())})(?!\w)"
_ROOTED = r"(?:~[\w.-]*|\.{1,2}|[A-Za-z]:|file:/?)?[/\\]"
_FILES = re.compile(
    # In quotes: a rooted path, or a name with a file's suffix; both may contain blanks.
    rf"(?P<quote>['\"`])(?:{_ROOTED}[^'\"`\n]*|[^'\"`\n]*{_SUFFIX}[^'\"`\n]*)(?P=quote)"
    # Without quotes: up to the next blank or bracket.
    rf"|(?<![\w<./\\]){_ROOTED}[^\s'\"`<>()\[\]{{}}|,;]+"
    rf"|[^\s'\"`<>()\[\]{{}}|,;=]+{_SUFFIX}",
    re.IGNORECASE,
)


class NodeError(RuntimeError):
    """A message could not be answered; the node's log has the complete error."""


def short_errors_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Replace an error by a one-line error without file names.

    In a simulation errors are unchanged: the files are on the same machine.

    Raises
    ------
    NodeError
        The handler failed. Flower logs both errors on the node.
    """
    if in_actor():
        return call_next(message, context)
    try:
        return call_next(message, context)
    except Exception as error:  # Flower would send the text of any exception
        raise NodeError(without_files(error)) from error


def without_files(error: BaseException) -> str:
    """Return an error's type and text in one line of up to 300 characters, without file names."""
    text = str(error)
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        if name is not None:
            text = text.replace(repr(name), _HIDDEN).replace(str(name), _HIDDEN)
    line = " ".join(_FILES.sub(_HIDDEN, text[:_LOOKED_AT]).split())
    line = f"{type(error).__name__}: {line}"
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"
