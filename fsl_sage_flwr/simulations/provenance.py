"""What a run was made with: versions, commit, machine, command."""

import json
from pathlib import Path

from ..app.results import RunDirectory
from .load_results import ResultsError


def provenance_of(run: Path) -> dict[str, str]:
    """Return what a run's ``provenance.json`` says, as text, in its order; empty without one.

    Raises
    ------
    ResultsError
        The file is not a JSON object.
    """
    file = RunDirectory.provenance_of(run)
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise ResultsError(f"{file}: not valid JSON ({error}); remove the run or the file") from (
            error
        )
    if not isinstance(found, dict):
        raise ResultsError(f"{file}: a JSON object is needed, not {type(found).__name__}")
    return {str(key): _text(value) for key, value in found.items() if value not in (None, "")}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
