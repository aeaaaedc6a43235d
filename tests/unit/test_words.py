"""The package's texts use plain words: phrases of its former private dialect do not come back.

Checked are comments, docstrings, log lines, error texts and help texts, in all rooms that are not
``EXEMPT``. A phrase is found only within one line of the source.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "fsl_sage_flwr"

# Each phrase with the plain words to use.
DIALECT = {
    r"\bgo(es|ing)? on\b": "continue, resume",
    r"\bat work\b": "active, running",
    r"\bof (its|their|his|your|one's|the run's) own\b": "own, separate, custom",
    r"\bso many\b(?! \w+ (that|cannot))": "this number of",
    r"\b(whoever|who is|who has|who does)\b": "a noun: the attacker, the user",
    r"\b(somebody|nobody|anybody)\b": "a noun: the user, an attacker; or: is unused",
    r"\b(begun|began) anew\b|\bbegins? anew\b": "start anew",
    r"\bof before\b": "old, previous",
    r"\b(is|was|are|were) given up\b": "failed",
    r"\b(says?|said) so\b": "the fact itself",
    r"\bsays? (which|what|who)\b": "gives, names",
    r"\bmade anew\b": "rebuilt, recomputed",
    r"\bwhat (travels|is left|is kept|it keeps|it has|has come|is sent|it was)\b": "a noun",
    r"(?<!\d): 0:|\b0: (no|none|there|nobody|it)\b": "0 disables it",
    r"\bno whole\b": "corrupt or truncated",
    r"\bis no (dict|list|mapping|number|file|text|int|float|str)\b(?! of)": "is not a …",
    r"\bput(s)? back\b": "restore, load",
    r"\blet(s)? go of\b": "release",
}
# Rooms with texts that are still to be rewritten; remove a room here once it is finished.
EXEMPT: tuple[str, ...] = ()


KINDS = {
    tokenize.COMMENT,
    tokenize.STRING,
    getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING),  # from Python 3.12 on
}


def texts_of(source: str) -> list[tuple[int, str]]:
    """Return the lines of a source file's comments and strings, with their numbers."""
    found = list[tuple[int, str]]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in KINDS:
            found += enumerate(token.string.splitlines(), start=token.start[0])
    return found


def dialect_in(source: str) -> list[str]:
    """Return one line per dialect phrase in a source file."""
    return [
        f"line {number}: {found[0]!r}; use {plain}"
        for number, text in texts_of(source)
        for phrase, plain in DIALECT.items()
        if (found := re.search(phrase, text, re.IGNORECASE))
    ]


def is_exempt(file: Path) -> bool:
    name = file.relative_to(PACKAGE).as_posix()
    return any(name == room or name.startswith(f"{room}/") for room in EXEMPT)


def test_no_dialect_in_the_finished_rooms() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}, {line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if not is_exempt(file)
        for line in dialect_in(file.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "# The run goes on.\n",
        '"""Clients at work."""\n',
        'raise ValueError("a head of your own")\n',
        'log.info("0: none of them")\n',
        "x = 1  # whoever reads it\n",
    ],
)
def test_a_phrase_is_found_in_comments_and_texts(source: str) -> None:
    assert dialect_in(source)


@pytest.mark.parametrize(
    "source", ["goes_on = at_work = 0\n", '"""Run continues; 0 disables it."""\n', "who = nobody\n"]
)
def test_names_and_plain_words_are_not_found(source: str) -> None:
    assert not dialect_in(source)
