"""Cut a model, train it, and measure both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from fsl_sage_flwr import build_client_app
from fsl_sage_flwr.nodes.client_folder import remove_run
from fsl_sage_flwr.nodes.task_cache import forget_tasks
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.splitting import (
    AlignmentRecipe,
    Inputs,
    SplitError,
    SplitModel,
    as_tensors,
    split,
)
from fsl_sage_flwr.strategies import CseFsl, FslSage, FullModelFedAvg, SplitFedV1, SplitStrategy
from fsl_sage_flwr.task import SplitTask

from .entry import Entry, batches_like
from .row import Row
from .tensor_peak import TensorPeak

T = TypeVar("T")

ROUNDS, CLIENTS = 3, 2
Strategy = Callable[[SplitTask], SplitStrategy]
ALGORITHMS: dict[str, Strategy] = {
    "fsl_sage": partial(
        FslSage, align_interval=2, align_dataset_size=8, recipe=AlignmentRecipe(1, 4)
    ),
    "cse_fsl": CseFsl,
    "split_fed_v1": SplitFedV1,
}


def measure(entry: Entry, *, train: bool = True) -> list[Row]:
    """Try all cuts of a model, and train at the middle one of those that are proven."""
    rows = [_cut(entry, at) for at in entry.cuts]
    proven = [k for k, row in enumerate(rows) if row.verdict == "proven"]
    if proven:
        cost = _cost_of_a_step(entry)
        rows = [replace(row, **cost) if row.verdict == "proven" else row for row in rows]
    if proven and train:
        k = proven[len(proven) // 2]
        rows[k] = replace(rows[k], **_trainings(entry, rows[k].cut))
    return rows


def _cost_of_a_step(entry: Entry) -> dict[str, Any]:
    step = _step(entry, entry.build()[0])
    step()
    seconds = [_seconds(step)[1] for _ in range(3)]
    model, _ = entry.build()
    with TensorPeak(model) as memory:
        _step(entry, model)()
    return {
        "step_ms": round(1000 * statistics.median(seconds), 2),
        "step_mib": round(memory.peak / 2**20, 6),
    }


def _step(entry: Entry, model: nn.Module) -> Callable[[], None]:
    _, example = entry.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        scores = entry.scores_of_sample(_output(model, example))
        torch.autograd.backward(scores.float().logsumexp(dim=1).mean())
        optimizer.step()
        optimizer.zero_grad()

    return step


def _output(model: nn.Module, example: Inputs) -> Any:
    if isinstance(example, Tensor):
        return model(example)
    return model(*example) if isinstance(example, tuple) else model(**example)


def _seconds(function: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def _cut(entry: Entry, at: str) -> Row:
    named: dict[str, Any] = {"library": entry.library, "model": entry.name, "cut": at}
    model, example = entry.build()
    cut = partial(split, model, at, example, public=entry.public)
    try:
        halves, seconds = _seconds(cut)
        with TensorPeak(model) as memory:
            cut()
    except SplitError as error:
        return Row(**named, verdict="refused", reason=_reason(error))
    except Exception as error:  # noqa: BLE001 - an exception of other code is a finding
        return Row(**named, verdict="error", reason=f"{type(error).__name__}: {error}"[:200])
    figures = {"split_ms": round(1000 * seconds, 1), "split_mib": round(memory.peak / 2**20, 6)}
    return Row(
        **named,
        verdict="proven",
        way="traced" if isinstance(halves.client, fx.GraphModule) else "replayed",
        crosses=_crosses(halves, example),
        **figures,
    )


def _reason(error: SplitError) -> str:
    """Return the refusal of the way that was tried last, without the advice of all refusals."""
    said = " ".join(str(error).split())
    said = said.rpartition("Its forward cannot be replayed either: ")[2]
    return said.partition(" Cut it elsewhere (list_cuts")[0]


def _crosses(halves: SplitModel, example: Inputs) -> str:
    with torch.no_grad():
        smashed = as_tensors(halves.client.eval()(*as_tensors(example)))
    kinds = [
        (str(t.dtype).removeprefix("torch."), "×".join(map(str, t.shape[1:]))) for t in smashed
    ]
    return ", ".join(f"{dtype} {shape}".strip() for dtype, shape in kinds)


def _trainings(entry: Entry, at: str) -> dict[str, Any]:
    found = {}
    whole, moved = dict[str, Tensor](), set[str]()
    for name, make in {"fed_avg": FullModelFedAvg, **ALGORITHMS}.items():
        try:
            trained, ours = _train(entry, at, make)
        except Exception as error:  # noqa: BLE001 - a training that fails is a finding
            found[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
            continue
        if name == "fed_avg":
            whole, moved = trained, ours
            continue
        still = sorted(moved - ours)
        rest = f"; {len(still)} weights unmoved, such as {still[0]}" if still else ""
        found[name] = f"trains{rest}"
        if name == "split_fed_v1":
            found["parity"] = _parity(whole, trained)
    if "fed_avg" in found:
        found["parity"] = f"FedAvg fails: {found.pop('fed_avg')}"
    return found


def _parity(whole: dict[str, Tensor], trained: dict[str, Tensor]) -> str:
    if whole.keys() != trained.keys():
        return "other weights"
    if all(torch.equal(whole[key], trained[key]) for key in whole):
        return "equal"
    gaps = [(whole[key].double() - trained[key].double()).abs().max().item() for key in whole]
    return f"within {max(gaps):.0e}"


def _train(entry: Entry, at: str, make: Strategy) -> tuple[dict[str, Tensor], set[str]]:
    """Train three rounds; return the whole model's weights and the names of those that moved."""
    strategy = make(_task(entry, at))
    grid = InlineGrid(build_client_app(lambda context: _task(entry, at)), CLIENTS)
    before = {name: t.clone() for name, t in strategy.task.weights_of_both().items()}
    failures = dict[Any, str]()

    def end_round(server_round: int, arrays: Any) -> None:
        if server_round:
            failures.update(strategy.last_round.failures)

    try:
        arrays = strategy.start(
            grid, strategy.initial_arrays(), num_rounds=ROUNDS, evaluate_fn=end_round
        ).arrays
    finally:
        forget_tasks()
        remove_run(grid.run.run_id)
    if failures:
        raise RuntimeError(f"a client failed: {next(iter(failures.values()))}")
    client, server = strategy.model_state(arrays)
    after = {**client, **server}
    names = {name for name, _ in entry.build()[0].named_parameters(remove_duplicate=False)}
    moved = {k for k, t in after.items() if k in names and not torch.equal(t, before[k])}
    return after, moved


def _task(entry: Entry, at: str) -> SplitTask:
    model, example = entry.build()
    with torch.no_grad():
        classes = entry.scores_of_sample(_output(model.eval(), example)).shape[1]
    # A model that has not run, as that of the proof: some install hooks in their first pass.
    halves = split(entry.build()[0].train(), at, example, public=entry.public, prove=False)
    return SplitTask(
        halves,
        example,
        classes,
        lambda client, seed: batches_like(example, classes, client, seed),
        objective=entry.objective(classes),
    )
