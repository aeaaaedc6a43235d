"""Compare whole training runs of two commits on this machine, bit for bit.

    python -m tests.golden --against COMMIT   # exit status 1 where a hash differs
    python -m tests.golden                    # record this tree's hashes in tests/golden.json

A change of structure must move no bit. Bits depend on the processor, even with equal versions of
torch and equal instruction sets, so no hash is committed: both commits are recorded here, each
by the copy of this file that it contains.
"""

import argparse
import hashlib
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.data.augmentation import augment
from fsl_sage_flwr.nodes.client_state import ClientState
from fsl_sage_flwr.nodes.task_cache import forget_tasks
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from . import runs, tails
from .masked import masked_task
from .memory_grid import MemoryGrid, error_instead
from .tasks import small_batches, small_task

FILE = Path(__file__).with_name("golden.json")
ROUNDS, CLIENTS = 4, 4
LATE, LOST = 3, 1

STRATEGIES: dict[str, Any] = {
    "fed_avg": runs.fed_avg,
    "sl_multi_server": runs.split_fed_v1,
    "sl_single_server": runs.split_fed_v2,
    "sl_single_server, whole clients": partial(runs.split_fed_v2, server_order="client"),
    "sl_multi_server, two batches": partial(runs.split_fed_v1, batches_per_exchange=2),
    "cse_fsl": runs.cse_fsl,
    "fsl_sage": runs.fsl_sage,
    "fsl_sage, warm start": partial(runs.fsl_sage, warm_start=True),
    "heron_sfl": runs.heron_sfl,
    "split_frozen": runs.split_frozen,
    "cycle_sl": runs.cycle_sl,
    "ampere": runs.ampere,
    "mu_splitfed": runs.mu_splitfed,
    "sl_multi_server, labels stay": tails.u_shaped_v1,
    "sl_single_server, labels stay": tails.u_shaped_v2,
}


def augmented_batches(client: ClientIdentity, seed: int) -> Any:
    """The small batches as uint8 images, cropped and flipped by the seed."""
    for k, (inputs, labels) in enumerate(small_batches(client, seed)):
        images = (inputs.clamp(-2, 2) * 30 + 100).to(torch.uint8)
        generator = torch.Generator().manual_seed(seed + k)
        yield augment(images, generator).float() / 64 - 1.5, labels


def with_batch_norm() -> dict[str, Any]:
    """BatchNorm, dropout, Adam everywhere, augmentation, validation."""
    adam = partial(torch.optim.Adam, lr=3e-3)
    return {
        "server_optimizer": adam,
        "train_batches": augmented_batches,
        "validation_batches": lambda client: list(small_batches(client, 99)),
    }


class LateAndLost:
    """Client ``LATE`` connects after the first round; ``LOST`` fails in the second and fourth."""

    def __init__(self, task: Any) -> None:
        self._seen = 0
        self.grid = MemoryGrid(build_client_app(task), CLIENTS, tamper=self._tamper)
        node = next(node for node, i in self.grid.partition.items() if i == LATE)
        self._late = node, self.grid.contexts.pop(node)
        self._fail = False

    def _tamper(self, partition: int, reply: Message) -> Message:
        kind = reply.metadata.message_type
        if self._fail and partition == LOST and kind not in ("query.describe", "evaluate.split"):
            self._seen += 1
            if self._seen == 3 or kind.startswith("train"):
                self._fail, self._seen = False, 0
                return error_instead(reply)
        return reply

    def after(self, round_: int) -> None:
        """Let the next round be what it is to be."""
        if round_ == 1:
            self.grid.contexts[self._late[0]] = self._late[1]
        self._fail = round_ in (1, 3)


def digest(value: Any) -> str:
    """Hash every leaf, with its path."""
    found = hashlib.sha256()
    for path, leaf in sorted(runs.flat(value).items()):
        if isinstance(leaf, torch.Tensor):
            found.update(f"{path} {leaf.dtype} {tuple(leaf.shape)}".encode())
            found.update(leaf.detach().cpu().contiguous().numpy().tobytes())
        else:
            found.update(f"{path} {leaf!r}".encode())
    return found.hexdigest()[:24]


def by_earlier_names(state: dict[str, Any]) -> dict[str, Any]:
    """Return a strategy's state_dict as it was before states were nested by their names."""
    flat = dict(state)
    server, heads = flat.pop("server", {}), flat.pop("heads", None)
    flat |= {f"server_{name}": value for name, value in server.items()}
    if "head" in flat:
        flat["head"] = flat["head"]["weights"]
    if heads is not None:
        flat |= {**heads, "warm": flat.pop("warm_start", {"is_over": True})["is_over"]}
    if not flat["downlink"]:
        del flat["downlink"]
    return flat


def row_of(strategy: Any, arrays: ArrayRecord, before: dict[str, int]) -> dict[str, Any]:
    summary, now = strategy.last_round, strategy.ledger.by_kind()
    figures = {
        "train_loss": summary.train_loss,
        "cosine": summary.alignment_cosine,
        "relative_error": summary.alignment_relative_error,
        "validation": None if summary.validation is None else [summary.validation.loss,
                                                               summary.validation.accuracy],
    }  # fmt: skip
    clients = [(c.client, c.examples, c.update_norm, c.down_bytes, c.up_bytes, c.failure)
               for c in strategy.client_rounds()]  # fmt: skip
    row = {
        "round": summary.round,
        "clients": summary.clients,
        "failures": dict(summary.failures),
        "figures": digest(figures),
        "per_client": digest({"": clients}),
        "weights": digest(arrays),
        "bytes": {key: now[key] - before[key] for key in now if now[key] != before[key]},
    }
    before.update(now)
    return row


def run(make: Any, nodes: Any, **changes: Any) -> dict[str, Any]:
    strategy = make(**changes)
    strategy.registry.registration_timeout = 0.0  # the late client is not waited for
    before, rows = strategy.ledger.by_kind(), []

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            rows.append(row_of(strategy, arrays, before))
        nodes.after(server_round)

    result = strategy.start(
        nodes.grid, strategy.initial_arrays(), num_rounds=ROUNDS, evaluate_fn=end_round
    )
    client, server = strategy.model_state(result.arrays)
    state = by_earlier_names(strategy.state_dict())
    del state["sample_uploads"]  # counts messages; it came after the recording
    optimizers = {
        f"{nodes.grid.partition[node]}/{name}": ClientState(context).load(name) or {}
        for node, context in nodes.grid.contexts.items()
        for name in ("optimizer", "server-optimizer", "auxiliary-optimizer")
    }
    return {
        "history": rows,
        "reference_bytes": strategy.ledger.reference_total,
        "client_half": digest(client),
        "server_half": digest(server),
        "strategy": digest(state),
        "client_optimizers": digest(optimizers),
    }


class Steady:
    """Nodes to which nothing happens."""

    def __init__(self, task: Any) -> None:
        self.grid = MemoryGrid(build_client_app(task), 3)

    def after(self, round_: int) -> None:
        pass


def sgd_task() -> SplitTask:
    """Several tensors across the cut, SGD with momentum, dropout."""
    sgd = partial(torch.optim.SGD, lr=5e-2, momentum=0.9)
    return masked_task(dropout=0.3, client_optimizer=sgd, server_optimizer=sgd,
                       auxiliary_optimizer=sgd, local_epochs=2)  # fmt: skip


LATE_AND_LOST = "BatchNorm, Adam, augmentation, late and lost clients"
SEVERAL = "several tensors, SGD, dropout"
# A model whose tail the clients hold is not that with several tensors across the cut.
CASES = [
    f"{name}: {what}"
    for name, make in STRATEGIES.items()
    for what in (LATE_AND_LOST, SEVERAL)
    if what == LATE_AND_LOST or make not in tails.U_SHAPED
]


def record_one(case: str) -> dict[str, Any]:
    """Train what a case names; return the hashes."""
    forget_tasks()
    name, _, what = case.partition(": ")
    if what == SEVERAL:
        return run(lambda: _on_masked(STRATEGIES[name]), Steady(lambda context: sgd_task()))
    changes = with_batch_norm()
    task = tails.tail_task if STRATEGIES[name] in tails.U_SHAPED else small_task
    nodes = LateAndLost(lambda context: task(**changes))
    make = partial(STRATEGIES[name], changes)
    return run(make, nodes, fraction_evaluate=0.5, min_train_nodes=2)


def _on_masked(make: Any) -> Any:
    """Make the strategy of a factory of ``runs`` on the other task."""
    original = runs.small_task
    runs.small_task = lambda **changes: sgd_task()
    try:
        return make()
    finally:
        runs.small_task = original


def record() -> dict[str, Any]:
    """Train every case of this tree; return the hashes by case."""
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    return {case: json.loads(json.dumps(record_one(case))) for case in CASES}


def record_commit(commit: str) -> dict[str, Any]:
    """Train every case of a commit, in a process and a temporary checkout for it alone."""
    here = Path(__file__).parent.parent
    archive = subprocess.run(
        ["git", "archive", commit], cwd=here, check=True, stdout=subprocess.PIPE
    ).stdout
    with tempfile.TemporaryDirectory() as checkout:
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(checkout, filter="data")
        environment = {**os.environ, "PYTHONPATH": checkout}
        command = [sys.executable, "-m", "tests.golden"]
        subprocess.run(command, cwd=checkout, env=environment, check=True)
        file = Path(checkout, "tests", FILE.name)
        return dict(json.loads(file.read_text(encoding="utf-8"))["runs"])


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a line for each hash that differs: the case, the round, the column."""
    found = []
    for case in sorted({*before, *after}):
        if case not in before or case not in after:
            print(f"{case}: only {'after' if case in after else 'before'}; not compared")
            continue
        old, new = runs.flat(before[case]), runs.flat(after[case])
        paths = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
        found += [f"{case}: {path}" for path in paths]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT", help="commit to compare this tree with")
    commit = parser.parse_args().against
    found = record()
    if commit is None:
        FILE.write_text(json.dumps({"runs": found}, indent=1) + "\n", encoding="utf-8")
        return
    lines = differences(record_commit(commit), found)
    print("\n".join(lines) if lines else f"the same bits as {commit}")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
