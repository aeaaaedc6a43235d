"""Cut and train the models of several libraries, and write the table of their cuts.

    python -m benchmarks.model_zoo [--csv docs/results/models.csv] [--page docs/results/models.md]
        [--libraries torch timm] [--models Bert ViT]

Each model is tried at an early, a middle and a late cut, and trained for three rounds with three
algorithms. Models that the CSV has are skipped, so an interrupted run continues; the page is
written from the whole CSV. A library that is not installed is skipped with a line:
``pip install -e ".[models]"`` installs all.
"""

import argparse
import csv
import logging
import os
import platform
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from .zoo import COLUMNS, Entry, Row, measure, page_of

RESULTS = Path(__file__).parents[1] / "docs" / "results"
# Each library that is imported, and the module with its models.
LIBRARIES = {
    "torch": "own",
    "torchvision": "torchvision_models",
    "transformers": "transformers_models",
    "peft": "peft_models",
    "timm": "timm_models",
    "segmentation_models_pytorch": "segmentation_models",
    "monai": "monai_models",
    "torch_geometric": "graph_models",
}


def entries(libraries: Iterable[str]) -> Iterator[Entry]:
    """Yield the models of the installed libraries."""
    for library in libraries:
        if find_spec(library) is None:
            print(f"{library} is not installed: skipped")
            continue
        yield from import_module(f"{__package__}.zoo.{LIBRARIES[library]}").entries()


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(found) for found in csv.DictReader(file)]


def _row(found: dict[str, str]) -> Row:
    values: dict[str, Any] = dict(found)
    values |= {key: float(found[key]) for key in found if key.endswith(("_ms", "_mib"))}
    return Row(**values)


def append(path: Path, rows: list[Row]) -> None:
    """Add rows to a CSV."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(map(asdict, rows))


def about(rows: list[Row]) -> str:
    """Return date, machine, and versions of the libraries in the table."""
    names = [name for name in LIBRARIES if any(row.library == name for row in rows)]
    libraries = ", ".join(f"{name} {version(name)}" for name in names if find_spec(name))
    machine = f"{platform.machine()}, {os.cpu_count()} shared cores, one thread"
    return f"{date.today()}, {machine}, Python {platform.python_version()}, {libraries}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--csv", type=Path, default=RESULTS / "models.csv")
    parser.add_argument("--page", type=Path, default=RESULTS / "models.md")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=[*LIBRARIES])
    parser.add_argument("--models", nargs="+", help="words in the names; default: all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    known = {(row.library, row.model) for row in read(given.csv)}
    for entry in entries(given.libraries):
        wanted = not given.models or any(word in entry.name for word in given.models)
        if not wanted or (entry.library, entry.name) in known:
            continue
        rows = measure(entry)
        append(given.csv, rows)
        for row in rows:
            results = " ".join(
                filter(None, (row.fsl_sage, row.cse_fsl, row.split_fed_v1, row.parity))
            )
            print(entry.library, entry.name, row.cut, row.verdict, row.reason, results, flush=True)
    rows = read(given.csv)
    given.page.write_text(page_of(rows, about(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
