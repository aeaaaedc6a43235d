"""A Flower mod that removes names of files from the errors that reach the server.

Flower sends the text of a ClientApp's exception to the server, which writes it to its log and its
results. Errors about data name files, and names of files can name persons.
"""

import re

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod

from .simulated import Simulated

LONGEST = 300
_SEARCHED = 4000  # characters: an error can quote a table
_HIDDEN = "<file>"
_SUFFIXES = (
    "arrow avi bin bmp ckpt csv dat dcm doc docx edf feather flac gif gz h5 hdf5 heic jpeg jpg "
    "json jsonl log mat md mha mhd mp3 mp4 nii nrrd npy npz parquet pdf pickle pkl png pt pth "
    "safetensors svs tar tgz tif tiff toml tsv txt wav webp xls xlsx xml yaml yml zip"
)
_SUFFIX = rf"\.(?:{'|'.join(_SUFFIXES.split())})(?!\w)"
_ROOTED = r"(?:~[\w.-]*|\.{1,2}|[A-Za-z]:|file:/?)?[/\\]"
_FILES = re.compile(
    # In quotes: a rooted path, or a name with a file's suffix; both can contain blanks.
    rf"(?P<quote>['\"`])(?:{_ROOTED}[^'\"`\n]*|[^'\"`\n]*{_SUFFIX}[^'\"`\n]*)(?P=quote)"
    # Without quotes: up to the next blank or bracket.
    rf"|(?<![\w<./\\]){_ROOTED}[^\s'\"`<>()\[\]{{}}|,;]+"
    rf"|[^\s'\"`<>()\[\]{{}}|,;=]+{_SUFFIX}",
    re.IGNORECASE,
)


class NodeError(RuntimeError):
    """The node cannot answer a message; its own log has the whole error."""


def short_errors_mod(simulated: Simulated) -> Mod:
    """Return the mod, which raises every error again as a ``NodeError`` of one line.

    Flower logs both errors on the node. In a simulation errors stay as they are: the files are on
    the machine of the log.

    Parameters
    ----------
    simulated : Simulated
        Whether a simulation runs the ClientApp.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if simulated:
            return call_next(message, context)
        try:
            return call_next(message, context)
        except Exception as error:  # Flower would send the text of any exception
            raise NodeError(without_files(error)) from error

    return mod


def without_files(error: BaseException) -> str:
    """Return the type and the text of an error in one line of 300 characters, without files."""
    text = str(error)
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        if name is not None:
            text = text.replace(repr(name), _HIDDEN).replace(str(name), _HIDDEN)
    line = " ".join(_FILES.sub(_HIDDEN, text[:_SEARCHED]).split())
    line = f"{type(error).__name__}: {line}"
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"
