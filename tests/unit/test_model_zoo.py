"""A tenth of the model zoo: its results are those of the published table."""

import csv
import importlib
from pathlib import Path

import pytest

from benchmarks.model_zoo import LIBRARIES, RESULTS, read
from benchmarks.zoo import COLUMNS, Row, measure

from ..rows import rows

PUBLISHED = read(RESULTS / "models.csv")
TENTH = [
    ("torch", "U-Net"),
    ("torch", "encoder, mask not public"),
    ("torch", "diffusion, time public"),
    ("torch", "moving average of features"),
    ("torch", "message passing"),
    ("torch", "actor and critic"),
    ("torch", "codebook"),
    ("torch", "attention U-Net, recursive"),
    ("torch", "checkpointed blocks"),
    ("torch", "state space"),
    ("torch", "Kolmogorov-Arnold network"),
    ("torchvision", "DenseNet"),
    ("transformers", "BertForSequenceClassification"),
    ("transformers", "BertForSequenceClassification, mask not public"),
    ("transformers", "BertForMaskedLM"),
    ("peft", "LoRA on LlamaForCausalLM, bfloat16"),
]


def results(row: Row) -> tuple[str, ...]:
    """Return what does not depend on the machine."""
    trained = row.fsl_sage, row.cse_fsl, row.split_fed_v1, row.parity
    return row.cut, row.verdict, row.way, row.crosses, *trained


@pytest.mark.slow
@pytest.mark.first
@rows(("library", "name"), TENTH, lambda row: row in TENTH[:2])
def test_the_published_table_holds(library: str, name: str) -> None:
    pytest.importorskip(library)
    models = importlib.import_module(f"benchmarks.zoo.{LIBRARIES[library]}")
    (entry,) = [entry for entry in models.entries() if entry.name == name]
    published = [row for row in PUBLISHED if (row.library, row.model) == (library, name)]
    assert [*map(results, measure(entry))] == [*map(results, published)]


def test_a_row_survives_the_csv(tmp_path: Path) -> None:
    file = tmp_path / "models.csv"
    row = Row("torch", "a, b", "layer|1", "proven", step_ms=1.5, split_mib=0.25, parity="equal")
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerow(vars(row))
    assert read(file) == [row]
