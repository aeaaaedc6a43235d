"""``fsl-sage cuts``: where a model can be cut, and what each cut costs."""

import torch
from rich.table import Table

from ..app.config import RunConfig
from ..models import build_model
from ..splitting import Cut, list_cuts, round_bytes


def cut_table(config: RunConfig, image: tuple[int, int, int], classes: int, depth: int) -> Table:
    """Return a table of the cuts of the configured model.

    Parameters
    ----------
    config : RunConfig
        Names the model; its batch size and intervals make the bytes of a round.
    image : tuple of int
        ``(C, H, W)``.
    classes : int
        Number of classes.
    depth : int
        How deep submodules are looked for.
    """
    model = build_model(config.model, image, classes)
    work = config.workload()
    table = Table(
        title=f"cuts of {config.model}, images {image}, {classes} classes; bytes of one client's "
        f"round with {work.examples:,} examples, batches of {work.batch_size}, "
        f"q = {work.server_update_interval}, l = {work.align_interval}",
        caption="parameters in millions; MFLOPs: forward pass of one sample",
    )
    table.add_column("cut", no_wrap=True)
    for heading in (
        "smashed", "B a sample", "client", "server", "head", "client MFLOPs", "server MFLOPs",
        "fed_avg MiB", "SplitFed MiB", "cse_fsl MiB", "fsl_sage MiB",
    ):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for cut in list_cuts(model, torch.zeros(2, *image), depth=depth):
        table.add_row(*_row(cut, round_bytes(cut, work)))
    return table


def _row(cut: Cut, traffic: dict[str, int]) -> list[str]:
    shapes = " + ".join("×".join(map(str, shape)) for shape in cut.smashed_shapes)
    sizes = (cut.client_parameters, cut.server_parameters, cut.head_parameters)
    costs = (cut.client_flops, cut.server_flops)
    algorithms = ("fed_avg", "sl_multi_server", "cse_fsl", "fsl_sage")
    return [
        cut.name,
        shapes,
        f"{cut.smashed_bytes:,}",
        *(f"{size / 1e6:.3f}" for size in sizes),
        *(f"{cost / 1e6:.1f}" for cost in costs),
        *(f"{traffic[algorithm] / 2**20:.1f}" for algorithm in algorithms),
    ]
