"""Write the page of the docs with the table."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from .row import Row

ALGORITHMS = {"fsl_sage": "FSL-SAGE", "cse_fsl": "CSE-FSL", "split_fed_v1": "SplitFed V1"}

HEADER = """# What can be cut

`python -m benchmarks.model_zoo`, {about}.

{count} models of {libraries} libraries, thin and with random weights, each at an early, a middle
and a late cut. [All figures](models.csv).

| | models |
|:--|--:|
| cut at all tried cuts | {everywhere} |
| cut at some | {somewhere} |
| cut at none | {nowhere} |
| trained by FSL-SAGE, CSE-FSL and SplitFed V1, of those that can be cut | {trained} |

| | cuts |
|:--|--:|
| proven | {proven} |
| refused with a reason | {refused} |
| ended by an exception of other code | {errors} |

`list_cuts(model, example)` shows the cuts of your model, and `split` proves the chosen one:
[extend](../how-to/extend.md). Complete apps: [a BERT](../../examples/bert/README.md),
[a U-Net](../../examples/unet/README.md).

- **cuts**: the proven ones. The halves' outputs in train and eval mode, and their gradients in
  train mode, equal the uncut model's bit for bit.
- **split**: time of `split` in training steps of the uncut model, and the peak of its tensors as a
  multiple of the step's; the largest of the proven cuts. Thin models take milliseconds a step, so
  fixed costs weigh more than in large models, and on a shared machine the ratio is rough.
- **FSL-SAGE**, **CSE-FSL**, **SplitFed V1**: three rounds with two clients at the cut in bold.
  ✓: no client failed, and every weight that FedAvg of the uncut model moves has moved. A number:
  weights that have not moved, because a default head does not use what they compute.
- **parity**: equal if SplitFed V1 ends with the weights of FedAvg of the uncut model, bit for bit;
  otherwise the largest difference.
"""

TABLE = """
## {library}

| model | cuts | split: steps, memory | {algorithms} | parity |
|:--|:--|--:|{lines}:-:|
"""

REFUSED = """
## {title}

| model | cut | reason |
|:--|:--|:--|
"""


def page_of(rows: Sequence[Row], about: str) -> str:
    """Return the page in Markdown; ``about`` names date, machine and versions."""
    rows = sorted(rows, key=lambda row: row.library)
    models = [list(of) for _, of in groupby(rows, key=lambda row: (row.library, row.model))]
    some = [sum(row.verdict == "proven" for row in model) for model in models]
    everywhere = sum(n == len(model) for n, model in zip(some, models, strict=True))
    nowhere = sum(n == 0 for n in some)
    header = HEADER.format(
        about=about,
        count=len(models),
        libraries=len({row.library for row in rows}),
        everywhere=everywhere,
        somewhere=len(models) - everywhere - nowhere,
        nowhere=nowhere,
        trained=sum(map(_trains, rows)),
        proven=sum(some),
        refused=sum(row.verdict == "refused" for row in rows),
        errors=sum(row.verdict == "error" for row in rows),
    )
    tables = ""
    for library, of in groupby(models, key=lambda model: model[0].library):
        names = ALGORITHMS.values()
        tables += TABLE.format(
            library=library, algorithms=" | ".join(names), lines=":-:|" * len(names)
        )
        tables += "".join(map(_line, of))
    at_none, others = list[Row](), list[Row]()
    for n, model in zip(some, models, strict=True):
        (others if n else at_none).extend(row for row in model if row.verdict != "proven")
    for title, refused in ("Cut at none", at_none), ("Other refused cuts", others):
        if refused:
            tables += REFUSED.format(title=title) + "".join(map(_refusal, refused))
    return header + tables


def _trains(row: Row) -> bool:
    return all(getattr(row, name).startswith("trains") for name in ALGORITHMS)


def _line(model: Sequence[Row]) -> str:
    proven = [row for row in model if row.verdict == "proven"]
    trained = next((row for row in proven if row.parity or row.split_fed_v1), None)
    cuts = [f"**`{row.cut}`**" if row is trained else f"`{row.cut}`" for row in proven]
    cost = ""
    if proven:
        steps = max(row.split_ms / row.step_ms for row in proven)
        memory = max(row.split_mib / row.step_mib for row in proven)
        cost = f"{steps:.0f}, {memory:.1f}"
    results = [_mark(getattr(trained, name)) if trained else "" for name in ALGORITHMS]
    parity = trained.parity if trained else ""
    return _cells(model[0].model, ", ".join(cuts) or "none", cost, *results, parity)


def _mark(result: str) -> str:
    if result == "trains":
        return "✓"
    count = result.removeprefix("trains; ").partition(" weights")[0]
    return count if result.startswith("trains") else f"✗ {result}"


def _refusal(row: Row) -> str:
    return _cells(row.model, f"`{row.cut}`", row.reason)


def _cells(*texts: str) -> str:
    cells: Iterable[str] = (text.replace("|", "\\|") for text in texts)
    return f"| {' | '.join(cells)} |\n"
