"""Write the files derived from declarations: app table, keys.json, names.json, configuration.md.

python -m fsl_sage_flwr.app.document           # list the files that are out of date
python -m fsl_sage_flwr.app.document --write   # write them
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from .. import algorithms as _algorithms_of_the_package  # noqa: F401 - registers them
from .. import tasks as _tasks_of_the_package  # noqa: F401 - registers them
from ..algorithm_registry import ALGORITHMS, label_of
from ..config import name_table, settings_of
from ..config.key_table import FILE, KeyEntry, to_json
from ..config.setting import KINDS
from ..task_registry import TASKS
from .config import all_settings
from .known_names import NAMES, algorithm_looks, algorithm_schedules

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"
TABLE = "[tool.flwr.app.config]"
ALGORITHM_PAGE = "[Algorithms](../explanation/algorithms.md)."
# Words of bounds with the signs that stand for them in a table's column.
SIGNS = {
    "a whole number, ": "", "a number, ": "", " and ": " ",
    "at least ": "≥", "above ": ">", "at most ": "≤",
}  # fmt: skip
# Title of a group's section, and the pages that explain it; an algorithm's group has its label.
SECTIONS = {
    "": (
        "Core",
        "[Datasets](../how-to/data.md), [schedules](#learning-rate-schedules), "
        "[trackers](../how-to/analyse.md#trackers), [clients and GPUs](commands.md).",
    ),
    "auto-cut": (
        "Automatic cut",
        "Budgets of a client with `cut=auto`: [cuts](commands.md#cuts).",
    ),
    "codec": (
        "Codecs",
        "`none`, `f16`, `q8`, `q4`, `q3`, `q2`, and `sign` for the client half on its way to the "
        "server; `auto` follows `compression`: [compression](../how-to/compress.md).",
    ),
    "robust": (
        "Robustness",
        "Aggregation that bounds the influence of a few clients: [robust](../how-to/robust.md).",
    ),
    "fedopt": (
        "Server optimizer",
        "Step from a round's weights towards the clients' average, by Flower's `FedAdam`, "
        "`FedYogi` or `FedAvgM`: [server optimizers]"
        "(../explanation/algorithms.md#server-optimizers-and-the-proximal-term).",
    ),
    "privacy": (
        "Privacy",
        "Guarantee of each kind of noise: [privacy](../explanation/privacy.md).",
    ),
    "clock": (
        "Virtual clock",
        "Seconds and joules on other devices and links: [time](../explanation/time.md).",
    ),
    "stop": (
        "Budgets",
        "A run ends, completed, when it reaches one of them, or `max-communication-mib`: "
        "[time](../explanation/time.md#budgets).",
    ),
    "faults": (
        "Injected faults",
        "Clients that fail, for the accuracy that a run loses by them: "
        "[time](../explanation/time.md#three-protocols).",
    ),
    "async": (
        "Asynchronous aggregation",
        "[Time](../explanation/time.md#without-waiting-for-slow-clients).",
    ),
    "data": ("Columns and augmentation", "[Datasets](../how-to/data.md)."),
    "language": (
        "Language models",
        "[Language models](../how-to/language-models.md).",
    ),
    "adapter": (
        "Adapter of a language model",
        "LoRA: [language models](../how-to/language-models.md).",
    ),
    "auxiliary": ("Auxiliary heads", ALGORITHM_PAGE),
    "align": ("Alignment", ALGORITHM_PAGE),
}


def key_entries() -> dict[str, KeyEntry]:
    """Return the documentation of all keys that are registered in this process."""
    return {key: KeyEntry.of(entry, _used_by(key)) for key, entry in all_settings().items()}


def _used_by(key: str) -> str:
    owners = [
        name
        for registry in (TASKS, ALGORITHMS)
        for name, entry in registry.items()
        if key in settings_of(entry.options)
    ]
    return ", ".join(owners)


def app_table(entries: Mapping[str, KeyEntry]) -> str:
    """Return the table of the keys in pyproject.toml."""
    lines = [TABLE]
    group = ""
    for key, entry in entries.items():
        if entry.group != group:
            group = entry.group
            lines += ["", f"{TABLE[:-1]}.{group}]"]
        lines.append(f"{key.rpartition('.')[2]} = {json.dumps(entry.default)}")
    return "\n".join(lines) + "\n"


def with_app_table(pyproject: str, entries: Mapping[str, KeyEntry]) -> str:
    """Return the text of a pyproject.toml with its table of the keys replaced."""
    table = re.compile(rf"^{re.escape(TABLE)}\n.*?(?=^\[tool\.(?!flwr\.app\.config))", re.M | re.S)
    return table.sub(lambda _: app_table(entries) + "\n", pyproject)


def markdown(entries: Mapping[str, KeyEntry]) -> str:
    """Return the tables of docs/reference/configuration.md."""
    parts = []
    for group, members in groupby(entries.values(), key=lambda entry: entry.group):
        rows = list(members)
        title, see = SECTIONS.get(group, (_labels(rows), ALGORITHM_PAGE))
        parts += [f"### {title}" + (f": `{group}`" if group else ""), ""]
        owners = Counter(entry.used_by for entry in rows).most_common(1)[0][0]
        parts += [_owned(rows, owners) + see, ""]
        parts += ["| key | default | valid | |", "|---|---|---|---|"]
        parts += [_row(entry, owners) for entry in rows]
        parts.append("")
    return "\n".join(parts)


def _labels(entries: Sequence[KeyEntry]) -> str:
    names = dict.fromkeys(name for entry in entries for name in entry.used_by.split(", "))
    return ", ".join(label_of(name) for name in names)


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", ")) if names else "every run"


def _owned(entries: Sequence[KeyEntry], owners: str) -> str:
    if not owners:
        return ""
    others = any(entry.used_by != owners for entry in entries)
    return f"Keys of {_code(owners)}{', unless a row names others' if others else ''}. "


def _row(entry: KeyEntry, owners: str) -> str:
    default = f"`{entry.default_text()}`" if entry.default_text() else ""
    valid = "" if entry.valid == KINDS[str] else entry.valid
    for words, sign in SIGNS.items():
        valid = valid.replace(words, sign)
    valid += f" {entry.unit}" if entry.unit else ""
    doc = entry.doc + (f" ({_code(entry.used_by)})" if entry.used_by != owners else "")
    return f"| `{entry.key}` | {default} | {valid} | {doc} |"


def derived(root: Path = ROOT) -> dict[Path, str]:
    """Return the derived files with the content that they should have."""
    entries = key_entries()
    project, page = root / "pyproject.toml", root / "docs" / "reference" / "configuration.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        project: with_app_table(project.read_text(encoding="utf-8"), entries),
        page: f"{before}{BEGIN}\n{markdown(entries)}{END}{after}",
        root / FILE.relative_to(ROOT): to_json(entries),
        root / name_table.FILE.relative_to(ROOT): name_table.to_json(
            {kind: list(known()) for kind, known in NAMES.items()},
            algorithm_looks(),
            algorithm_schedules(),
        ),
    }


def main(arguments: list[str]) -> int:
    """Write the derived files with ``--write``, or list those that are out of date."""
    stale = [
        file
        for file, content in derived().items()
        if not file.is_file() or file.read_text(encoding="utf-8") != content
    ]
    for file in stale:
        if "--write" in arguments:
            file.write_text(derived()[file], encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {'written' if '--write' in arguments else 'out of date'}")
    return 1 if stale and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
