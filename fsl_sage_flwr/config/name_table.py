"""The table of the package's own names, for the command: it is read without torch."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..clock.phases import Schedule, from_plain, to_plain
from ..line_style import LineStyle

FILE = Path(__file__).with_name("names.json")
OWN = "fsl-sage-flwr"


class KnownName(NamedTuple):
    """A name that a run configuration can use.

    Attributes
    ----------
    name, what, source : str
        The name, a short description, and the package that registered it.
    """

    name: str
    what: str
    source: str = OWN


class AlgorithmLook(NamedTuple):
    """Label and line of an algorithm in tables and pictures."""

    label: str
    style: LineStyle | None


def to_json(
    names: Mapping[str, list[KnownName]],
    looks: Mapping[str, AlgorithmLook],
    schedules: Mapping[str, Schedule],
) -> str:
    """Return the content of ``names.json``."""
    content = {
        "names": {
            kind: [[name.name, name.what] for name in known] for kind, known in names.items()
        },
        "looks": {
            name: [look.label, None if look.style is None else vars(look.style)]
            for name, look in looks.items()
        },
        "schedules": {name: to_plain(schedule) for name, schedule in schedules.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


@cache
def own_names() -> Mapping[str, list[KnownName]]:
    """Return the package's own names, by kind."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["names"]
    return {kind: [KnownName(*entry) for entry in known] for kind, known in found.items()}


@cache
def own_looks() -> Mapping[str, AlgorithmLook]:
    """Return label and line of the package's own algorithms, in the order of registration."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["looks"]
    return {name: AlgorithmLook(label, _style(style)) for name, (label, style) in found.items()}


@cache
def own_schedules() -> Mapping[str, Schedule]:
    """Return the order of a round of the package's own algorithms."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["schedules"]
    return {name: from_plain(plain) for name, plain in found.items()}


def _style(values: Mapping[str, object] | None) -> LineStyle | None:
    if values is None:
        return None
    dashes = values["dashes"]
    if isinstance(dashes, list):  # a tuple in JSON
        dashes = (dashes[0], tuple(dashes[1]))
    return LineStyle(**{**values, "dashes": dashes})  # type: ignore[arg-type]
