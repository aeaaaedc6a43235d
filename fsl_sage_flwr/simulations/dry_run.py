"""Describe a run without starting it: configuration, clients, bytes and directory."""

import statistics
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text
from torch import nn

from ..algorithm_registry import ALGORITHMS
from ..app.assembly import build_task, identify_data
from ..app.config import RunConfig, all_defaults
from ..app.run_path import run_path
from ..compression.estimates import coded_cut
from ..splitting import Workload, cut_of
from ..task import ClientIdentity, SplitTask
from ..units import mib
from .federation import INLINE, Federation

LOOKED_AT = 20  # clients with counted examples


def describe(config: RunConfig, federation: Federation) -> Iterator[Table | str]:
    """Yield the lines and tables to print; the task is built, but nothing is started.

    Raises
    ------
    DatasetError, SplitError, LanguageModelError
        As :func:`~fsl_sage_flwr.app.assembly.build_task`.
    """
    unused, defaults = config.unused_keys(), all_defaults()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for key, value in config.to_run_config().items():
        if key not in unused:
            # Not as markup, because a path may contain brackets.
            table.add_row(key, Text(str(value)), "" if value != defaults[key] else "(default)")
    yield table
    data = identify_data(config, download=True)
    if data is not None:
        columns = "".join(f"{key} = {column!r}, " for key, column in data.columns.items())
        rows = ", ".join(f"{count:,} rows of {split}" for split, count in data.rows.items())
        yield f"data: {columns}{rows}"
    task = build_task(config, on_client=True)
    counts = [_examples(task, k, federation.clients) for k in _some(federation.clients)]
    looked = "" if len(counts) == federation.clients else f" (of {len(counts)} that were counted)"
    yield (
        f"{federation.clients} clients with {min(counts):,} to {max(counts):,} examples{looked}, "
        f"{_where(federation)}"
    )
    yield _bytes(config, task, federation.clients, counts)
    yield f"results: {run_path(config)}"


def _where(federation: Federation) -> str:
    if federation.engine == INLINE:
        return "one after another in this process"
    if federation.ray_address is not None:
        return f"on the Ray cluster at {federation.ray_address}"
    return f"{federation.ray_cpus()} CPUs"


def _some(clients: int) -> list[int]:
    step = max(1, clients // LOOKED_AT)
    return list(range(0, clients, step))


def _examples(task: SplitTask, client: int, clients: int) -> int:
    batches = task.train_batches(ClientIdentity(client, clients), 0)
    return sum(len(labels) for _, labels in batches)


def _bytes(config: RunConfig, task: SplitTask, clients: int, counts: list[int]) -> str:
    round_bytes = ALGORITHMS[config.algorithm].round_bytes
    if round_bytes is None:
        return f"a round's bytes are unknown: {config.algorithm} is registered without a formula"
    fraction, fewest = config.strategy.fraction_train, config.strategy.min_train_nodes
    asked = max(int(fraction * clients), fewest)  # as Flower does
    work = Workload(
        examples=round(statistics.mean(counts)), batch_size=config.batch_size,
        local_epochs=config.local_epochs, rounds=config.num_server_rounds,
    )  # fmt: skip
    has_tail = task.model.tail is not None
    cut = coded_cut(
        cut_of(
            task.model,
            nn.Module() if has_tail else task.head,
            task.smashed_example(),
            task.weights_of,
            hidden=task.hidden_example() if has_tail else (),
        ),
        config.codecs(),
    )
    size = round_bytes(cut, work, config.options) * asked
    return f"about {mib(size)} MiB a round, of {asked} clients"
