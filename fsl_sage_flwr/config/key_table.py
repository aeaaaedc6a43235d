"""The table of the package's own keys, for the command: it is read without torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from . import key_names
from .setting import KINDS, Setting

FILE = Path(__file__).with_name("keys.json")


@dataclass(frozen=True)
class KeyEntry:
    """A key of the run configuration in the form in which it is documented.

    Attributes
    ----------
    key, doc, unit : str
        As in :class:`~fsl_sage_flwr.config.Setting`.
    default : bool, int, float or str
        Default value.
    valid : str
        Type, bounds or valid texts.
    used_by : str
        The algorithms and kinds of task that it belongs to; empty for every run.
    formerly : list of str
        Names in earlier versions.
    renamed_values : Mapping
        Values of earlier versions with their new names.
    scope : str
        As in :class:`~fsl_sage_flwr.config.Setting`.
    """

    key: str
    doc: str
    default: Any
    valid: str
    unit: str = ""
    used_by: str = ""
    formerly: list[str] = field(default_factory=list)
    renamed_values: Mapping[str, str] = field(default_factory=dict)
    scope: str = "experiment"

    @classmethod
    def of(cls, setting: Setting, used_by: str) -> "KeyEntry":
        """Return the entry of a declaration."""
        valid = KINDS[setting.kind] + (f", {setting.bounds}" if setting.bounds else "")
        if setting.choices is not None:
            valid = ", ".join(filter(None, setting.choices))
        return cls(
            setting.key,
            setting.doc,
            setting.default,
            valid,
            setting.unit,
            used_by,
            list(setting.formerly),
            dict(setting.renamed_values),
            setting.scope,
        )

    @property
    def group(self) -> str:
        """Group of the key; empty for a core key."""
        return self.key.rpartition(".")[0]

    def default_text(self) -> str:
        """Return the default as on a command line."""
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)


def to_json(entries: Mapping[str, KeyEntry]) -> str:
    """Return the content of ``keys.json``."""
    return json.dumps([asdict(e) for e in entries.values()], indent=1, ensure_ascii=False) + "\n"


@cache
def own_keys() -> Mapping[str, KeyEntry]:
    """Return the package's own keys."""
    return {e["key"]: KeyEntry(**e) for e in json.loads(FILE.read_text(encoding="utf-8"))}


@cache
def own_new_names() -> Mapping[str, str]:
    """Return the package's keys of earlier versions with their new names."""
    return {old: entry.key for entry in own_keys().values() for old in entry.formerly}


def with_own_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of an earlier version with the names of this one."""
    values = {key: entry.renamed_values for key, entry in own_keys().items()}
    return key_names.renamed(config, own_new_names(), values)


def likely_own_key(name: str) -> str | None:
    """Return the package's key that a name may stand for; None if no key is close."""
    return key_names.likely_key(name, own_keys(), own_new_names())


def matching(entries: Mapping[str, KeyEntry], word: str) -> list[KeyEntry]:
    """Return the entries that a word finds: by key, former key, group or documentation."""
    plain = word.lower()
    by_name = [
        e for e in entries.values() if plain in e.key or plain in e.used_by or plain in e.formerly
    ]
    return by_name or [e for e in entries.values() if plain in e.doc.lower()]


def explained(entry: KeyEntry) -> str:
    """Return the lines that explain a key in a terminal."""
    default = entry.default_text() or "empty"
    unit = f" {entry.unit}" if entry.unit else ""
    lines = [
        f"{entry.key}={entry.default_text()}",
        f"    {entry.doc}",
        f"    default: {default}{unit}; valid: {entry.valid}",
    ]
    if entry.used_by:
        lines.append(f"    used by: {entry.used_by}")
    if entry.formerly:
        lines.append(f"    formerly: {', '.join(entry.formerly)}")
    return "\n".join(lines)
