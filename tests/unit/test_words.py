"""All texts use plain words: phrases of the package's former private dialect do not come back.

Checked are comments and strings of the package, tests, benchmarks and examples, and the prose of
the README and all pages of docs. A phrase is found only within one line.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("fsl_sage_flwr", "tests", "benchmarks", "examples", "docs")
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "*/README.md")
PAGES += ("examples/*/README.md",)

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
    r"\b(gives?|giving|gave|given) up\b": "fail, stop",
    r"\b(says?|said) so\b": "the fact itself",
    r"\bsays? (which|what|who|that|how|whether|when|where)\b": "gives, names, states",
    r"\bunder way\b": "active, in flight",
    r"\bstrangers?\b": "an unidentified node, an outsider",
    r"\bnews\b": "update",
    r"\bmend(s|ed|ing)?\b": "correct, fix",
    r"\bbrings? along\b": "includes, needs",
    r"\bin spite of\b": "despite",
    r"\bhears?\b": "is told, receives",
    r"\bmade anew\b": "rebuilt, recomputed",
    r"\bwhat (travels|is left|is kept|it keeps|it has|has come|is sent|it was)\b": "a noun",
    r"(?<!\d): 0:|\b0: (no|none|there|nobody|it)\b": "0 disables it",
    r"\bno whole\b": "corrupt or truncated",
    r"\bis no (dict|list|mapping|number|file|text|int|float|str)\b(?! of)": "is not a …",
    r"\bput(s)? back\b": "restore, load",
    r"\blet(s)? go of\b": "release",
}

KINDS = {
    tokenize.COMMENT,
    tokenize.STRING,
    getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING),  # from Python 3.12 on
}


def texts_of(source: str, *, data: bool = True) -> list[tuple[int, str]]:
    """Return the lines of a source file's comments and strings, with their numbers.

    Without ``data`` strings that are not docstrings are left out: a test's are its data.
    """
    found = list[tuple[int, str]]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_text = token.type == tokenize.COMMENT or token.string.startswith('"""')
        if token.type in KINDS and (data or is_text):
            found += enumerate(token.string.splitlines(), start=token.start[0])
    return found


def dialect_in(source: str, *, data: bool = True) -> list[str]:
    """Return one line per dialect phrase in a source file."""
    return [
        f"line {number}: {found[0]!r}; use {plain}"
        for number, text in texts_of(source, data=data)
        for phrase, plain in DIALECT.items()
        if (found := re.search(phrase, text, re.IGNORECASE))
    ]


def dialect_in_page(page: str) -> list[str]:
    """Return one line per dialect phrase in a Markdown page, without its blocks of code."""
    prose = re.sub(r"^ *```.*?^ *```", "", page, flags=re.M | re.S)
    return [
        f"{line.strip()[:80]!r}: {found[0]!r}; use {plain}"
        for line in prose.splitlines()
        for phrase, plain in DIALECT.items()
        if (found := re.search(phrase, line, re.IGNORECASE))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_no_dialect_in_the_source(folder: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}, {line}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file != Path(__file__)
        for line in dialect_in(file.read_text(encoding="utf-8"), data=folder != "tests")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_no_dialect_in_the_pages() -> None:
    pages = sorted({page for pattern in PAGES for page in ROOT.glob(pattern)})
    assert len(pages) > 30
    wrong = [
        f"{page.relative_to(ROOT)}, {line}"
        for page in pages
        for line in dialect_in_page(page.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_phrase_is_found_in_a_page_but_not_in_its_code() -> None:
    assert dialect_in_page("The run goes on.\n")
    assert not dialect_in_page("```\nthe run goes on\n```\nThe run continues.\n")


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
