"""Build the table of a model's cuts and their costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from rich.table import Table

from ..algorithm_registry import ALGORITHMS
from ..app.config import RunConfig
from ..app.images_only import refuse_other_tasks
from ..compression import AS_COMPRESSION_SAYS
from ..compression.estimates import coded_cut
from ..config import values_of
from ..models import build_model, tail_name
from ..splitting import Cut, cuts_before_tail, list_cuts
from ..units import mib

# Columns dropped one by one if the terminal is narrow; then the bytes of other algorithms.
LESS_ASKED_FOR = ("server MFLOPs", "B a sample", "server", "head", "client MFLOPs")


def cut_table(
    values: Mapping[str, Any],
    image: tuple[int, int, int],
    classes: int,
    depth: int,
    width: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Table, list[str]]:
    """Return a table of the configured model's cuts, and the columns that do not fit.

    Parameters
    ----------
    values : Mapping
        Run configuration in kebab-case: the model, and for the bytes per round the batch size and
        each algorithm's options.
    image : tuple of int
        ``(C, H, W)``.
    classes : int
        Number of classes.
    depth : int
        Depth of the search for submodules.
    width : int
        Characters per line.
    on_progress : callable, optional
        Called with the number of submodules that have been tried, and their total.
    """
    config = RunConfig.from_run_config(values)
    refuse_other_tasks(config, "cuts")
    model = build_model(config.model, image, classes)
    work = config.workload()
    stay = config.labels == "client"
    known = {
        name: algorithm.round_bytes
        for name, algorithm in ALGORITHMS.items()
        if algorithm.round_bytes is not None and (algorithm.labels_may_stay or not stay)
    }
    configs = {name: RunConfig.unchecked({**values, "algorithm": name}) for name in known}
    given = ", ".join(
        dict.fromkeys(
            f"{key} = {value}"
            for name in known
            for key, value in values_of(configs[name].options).items()
            if key.endswith("interval")
        )
    )
    title = (
        f"cuts of {config.model}, images {image}, {classes} classes; bytes of one client's "
        f"round with {work.examples:,} examples, batches of {work.batch_size}, {given}, "
        f"{_in_words(config)}"
    )
    headings = [
        "cut", "smashed", "B a sample", "client", "server", "head", "client MFLOPs",
        "server MFLOPs", *(f"{ALGORITHMS[name].label} MiB" for name in known),
    ]  # fmt: skip
    rows, example = [], torch.zeros(2, *image)
    cuts = list_cuts(model, example, depth=depth, on_progress=on_progress)
    if stay:
        tail = tail_name(config.model, config.tail)
        cuts = cuts_before_tail(model, example, cuts, tail)
        title += f"; client: with the tail from {tail!r}"
    for cut in cuts:
        traffic = [
            round_bytes(coded_cut(cut, configs[name].codecs()), work, configs[name].options)
            for name, round_bytes in known.items()
        ]
        rows.append(_row(cut, traffic))
    others = [f"{ALGORITHMS[name].label} MiB" for name in known if name != config.algorithm]
    less = (*LESS_ASKED_FOR, *reversed(others), "client", "smashed")
    return _that_fits(width, title, headings, rows, less)


def _that_fits(
    width: int, title: str, headings: list[str], rows: list[list[str]], less: Sequence[str]
) -> tuple[Table, list[str]]:
    # Width of the widest cell, and three characters of the frame.
    needed = {heading: 3 + max(len(row[place]) for row in (headings, *rows))
              for place, heading in enumerate(headings)}  # fmt: skip
    room, left_out = width - 1 - sum(needed.values()), list[str]()
    for heading in less:
        if room < 0:
            left_out.append(heading)
            room += needed[heading]
    table = Table(title=title, caption="parameters in millions; MFLOPs: forward pass of one sample")
    for heading in headings:
        if heading not in left_out:
            table.add_column(heading, justify="left" if heading == "cut" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell for heading, cell in zip(headings, row, strict=True)
                        if heading not in left_out))  # fmt: skip
    return table, left_out


def _in_words(config: RunConfig) -> str:
    given = {
        key: value for key, value in config.to_run_config().items() if key.startswith("codec.")
    }
    codecs = [f"{key} = {value}" for key, value in given.items() if value != AS_COMPRESSION_SAYS]
    return ", ".join([f"compression = {config.codec.compression}", *codecs])


def _row(cut: Cut, traffic: list[int]) -> list[str]:
    shapes = " + ".join(
        "×".join(map(str, shape)) + ("" if dtype == "float32" else f" {dtype}")
        for shape, dtype in zip(cut.smashed_shapes, cut.smashed_dtypes, strict=True)
    )
    sizes = (cut.client_parameters, cut.server_parameters, cut.head_parameters)
    costs = (cut.client_flops, cut.server_flops)
    return [
        cut.name,
        shapes,
        f"{cut.smashed_bytes:,}",
        *(f"{size / 1e6:.3f}" for size in sizes),
        *(f"{cost / 1e6:.1f}" for cost in costs),
        *(mib(size) for size in traffic),
    ]
