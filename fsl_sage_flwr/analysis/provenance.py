"""Read the provenance of a run: versions, commit, machine, command."""

import json
from pathlib import Path

from ..runs.directory import RunDirectory
from ..runs.provenance import without_credentials
from .load_results import read_json


def provenance_of(run: Path) -> dict[str, str]:
    """Return the content of a run's ``provenance.json`` as text, in its order; empty without one.

    Command lines of other programs are left out, because earlier versions wrote them with tokens.

    Raises
    ------
    ResultsError
        The file is not a JSON object.
    """
    found = without_credentials(read_json(RunDirectory.provenance_of(run)))
    return {str(key): _text(value) for key, value in found.items() if value not in (None, "")}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
