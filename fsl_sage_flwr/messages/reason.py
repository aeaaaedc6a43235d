"""The cause of a client's error, out of what Flower and Ray wrap it in."""

import re

LONGEST_REASON = 300
# Flower's code of a ClientApp's exception.
CLIENT_APP_RAISED = 2
# Flower's simulation: the text of its ClientAppException, at the end of Ray's traceback.
_OF_AN_ACTOR = "Exception ClientAppException occurred. Message:"
# What Flower makes of an exception: <class 'package.NameError'>:<'its text'>
_OF_FLOWER = re.compile(r"<class '(?:[^']*\.)?([^'.]+)'>:<'(.*)'>", re.DOTALL)
_LINE_OF_AN_ERROR = re.compile(r"^(?:\w+\.)*([A-Z]\w*)(?::|$)", re.MULTILINE)
_RAY = "ray::"
_TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def reason_of(text: str) -> str:
    """Return the cause of an error in one short line: the exception's name and its text.

    Parameters
    ----------
    text : str
        The reason in Flower's error; in a simulation some 3,000 characters with Ray's traceback.
    """
    found = _OF_FLOWER.fullmatch(_TERMINAL_COLOUR.sub("", text).strip())
    if found is None:
        return in_short(text)
    name, said = found.groups()
    before, marker, cause = said.partition(_OF_AN_ACTOR)
    if marker:
        cause = cause.removeprefix(" ")
        return in_short(_with_name(_raised(before, cause), cause))
    if _RAY in said:  # the app could not be loaded: the traceback ends with the exception
        last = list(_LINE_OF_AN_ERROR.finditer(said))[-1:]
        return in_short(said[last[0].start(1) :] if last else said)
    return in_short(_with_name(name, said))


def error_text(code: int, text: str) -> str:
    """Return an error reply in one line: Flower's code, and the cause."""
    return f"error {code}: {reason_of(text)}"


def is_raised_by_client_app(error: str) -> bool:
    """Tell whether a line of :func:`error_text` is about an exception of the ClientApp."""
    return error.startswith(f"error {CLIENT_APP_RAISED}: ")


def in_short(text: str) -> str:
    """Return a text in one printable line, and as much of it as a line holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} …"


def _raised(traceback: str, cause: str) -> str:
    """Return the name of the exception with this text in a traceback; empty if it is not there."""
    for line in reversed(list(_LINE_OF_AN_ERROR.finditer(traceback))):
        if traceback[line.end() :].startswith(f" {cause}" if cause else "\n"):
            return line[1]
    return ""


def _with_name(name: str, text: str) -> str:
    return ": ".join(part for part in (name, text) if part)
