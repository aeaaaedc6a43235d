"""Measure the effect of malicious clients, and of each defence.

    python -m benchmarks.attacks --csv FILE [--dataset digits] [--rounds 20] [--malicious 1 3]
        [--algorithms …] [--attacks …] [--defences …] [--seeds 200] [--setting alike]

Ten clients, iid, in this process. With the setting ``alike`` they have equal numbers of examples
and train simple_conv, with ``unequal`` from 1/40 to 7/40 of the examples and a model with
BatchNorm. A row is a run: algorithm, attack, number of malicious clients, defence; existing rows
are skipped. ``accuracy`` is the test accuracy after the last round. ``success`` is the share of
test images of other classes with the backdoor's mark that get the backdoor's class.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, Context, Message
from flwr_datasets.partitioner import SizePartitioner
from torch import Tensor, nn

from fsl_sage_flwr import build_client_app
from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_strategy, build_task, build_test_batches
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.data import DISTRIBUTIONS, Distribution, DistributionEntry
from fsl_sage_flwr.models import MODELS, ModelEntry
from fsl_sage_flwr.strategies import DivergedError, TrainingFailedError
from fsl_sage_flwr.task import ClientIdentity, SplitTask
from tests.memory_grid import MemoryGrid

CLIENTS, CLASSES = 10, 10
# Of the examples: the first three clients, which may be malicious, have as many as the median.
SHARES = (4, 4, 4, 1, 2, 3, 4, 5, 6, 7)
TARGET_CLASS = 0

DEFENCES: dict[str, dict[str, Any]] = {
    "none": {},
    "median": {"robust.aggregation": "median"},
    "krum": {"robust.aggregation": "krum", "robust.assumed-malicious": 3},
    "multi_krum": {"robust.aggregation": "multi_krum", "robust.assumed-malicious": 3},
    # For ten clients Bulyan bears one.
    "bulyan": {"robust.aggregation": "bulyan", "robust.assumed-malicious": 1},
    "ratio": {"robust.max-update-ratio": 3.0},
    "ratio and trimmed mean": {
        "robust.max-update-ratio": 3.0, "robust.aggregation": "trimmed_mean",
        "robust.trimmed-share": 0.3,
    },
}  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = {
    "alike": {},
    "unequal": {"model": "norm_conv", "distribution": "unequal"},
}

Batch = tuple[Any, Tensor]


class NormConv(nn.Module):
    """Three convolutions with BatchNorm, the first two of which are the client half."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(image_shape[0], 16), nn.MaxPool2d(2), *_convolution(16, 32)
        )
        self.classifier = nn.Sequential(
            *_convolution(32, 32), nn.Flatten(), nn.LazyLinear(num_classes)
        )
        with torch.no_grad():
            self.eval()(torch.zeros(1, *image_shape))
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of shape ``(B, num_classes)``."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


def _convolution(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def _unequal(distribution: Distribution, clients: int, table: Any) -> SizePartitioner:
    sizes = [len(table) * share // sum(SHARES) for share in SHARES]
    partitioner = SizePartitioner(partition_sizes=sizes)
    partitioner.dataset = table.shuffle(seed=distribution.seed % 2**32)
    return partitioner


MODELS.register("norm_conv", ModelEntry(NormConv, cut="classifier", auxiliary="linear"))
DISTRIBUTIONS.register("unequal", DistributionEntry(_unequal))


def flip_labels(batch: Batch) -> Batch:
    """Call every class by another's name."""
    images, labels = batch
    return images, CLASSES - 1 - labels


def marked(images: Tensor) -> Tensor:
    """Put the backdoor's mark, a bright square in a corner, on images."""
    side = max(2, images.shape[-1] // 8)
    images = images.clone()
    images[..., :side, :side] = images.amax()
    return images


def add_backdoor(batch: Batch) -> Batch:
    """Mark every other image, and call it the target class."""
    images, labels = batch[0].clone(), batch[1].clone()
    images[::2], labels[::2] = marked(images[::2]), TARGET_CLASS
    return images, labels


def _changed(record: ArrayRecord, change: Callable[[str, Tensor], Tensor]) -> ArrayRecord:
    state = record.to_torch_state_dict()
    return ArrayRecord(
        {name: change(name, t) if t.is_floating_point() else t for name, t in state.items()}
    )


class Malice:
    """Changes of one client to its replies, with a record of its messages.

    Parameters
    ----------
    how : callable or None
        Changes a reply.
    """

    def __init__(self, how: Callable[["Malice", Message], None] | None) -> None:
        self._how = how
        self.sent: dict[str, Mapping[str, Tensor]] = {}
        self.first: dict[str, dict[str, ArrayRecord]] = {}
        self.draw = torch.Generator().manual_seed(1)

    def see(self, request: Message) -> None:
        """Remember the weights of a request."""
        for name in ("arrays", "auxiliary"):
            if name in request.content.array_records:
                self.sent[name] = request.content.array_records[name].to_torch_state_dict()

    def answer(self, reply: Message) -> Message:
        """Return the reply as the client would have it."""
        if self._how is not None and reply.has_content():
            self._how(self, reply)
        return reply


def scale_update(factor: float, malice: Malice, reply: Message) -> None:
    """Multiply the update; a negative factor unlearns."""
    for name in ("arrays", "auxiliary"):
        before = malice.sent.get(name)
        if name in reply.content.array_records and before:
            record = reply.content.array_records[name]
            reply.content[name] = _changed(record, partial(_further, before, factor))


def _further(before: Mapping[str, Tensor], factor: float, name: str, learnt: Tensor) -> Tensor:
    return before[name] + factor * (learnt - before[name])


def noise_instead(malice: Malice, reply: Message) -> None:
    """Upload noise of the smashed data's own mean and deviation."""
    if "smashed" in reply.content.array_records:
        reply.content["smashed"] = _changed(
            reply.content.array_records["smashed"],
            lambda _, t: t.mean() + t.std() * torch.randn(t.shape, generator=malice.draw),
        )


def other_class(malice: Malice, reply: Message) -> None:
    """Upload smashed data with the labels of other samples."""
    if "smashed" in reply.content.array_records:
        reply.content["smashed"] = _changed(
            reply.content.array_records["smashed"], lambda _, t: t.roll(len(t) // 2 or 1, 0)
        )


def ride_free(malice: Malice, reply: Message) -> None:
    """Return the received weights, and noise for smashed data, without training."""
    scale_update(0.0, malice, reply)
    noise_instead(malice, reply)


def replay_first(malice: Malice, reply: Message) -> None:
    """Send the first reply of its kind again and again."""
    kind = reply.metadata.message_type
    if kind not in malice.first:
        malice.first[kind] = {name: r.copy() for name, r in reply.content.array_records.items()}
    for name, record in malice.first[kind].items():
        if name in reply.content.array_records and _fits(record, reply.content.array_records[name]):
            reply.content[name] = record.copy()


def _fits(one: ArrayRecord, other: ArrayRecord) -> bool:
    return {n: a.shape for n, a in one.items()} == {n: a.shape for n, a in other.items()}


@dataclass(frozen=True)
class Attack:
    """Declare one attack of malicious clients.

    Attributes
    ----------
    batches : callable or None
        Changes their training batches.
    replies : callable or None
        Changes their replies.
    """

    batches: Callable[[Batch], Batch] | None = None
    replies: Callable[[Malice, Message], None] | None = None


ATTACKS = {
    "no attack": Attack(),
    "label flipping": Attack(batches=flip_labels),
    "scaled update": Attack(replies=partial(scale_update, 10.0)),
    "sign flip": Attack(replies=partial(scale_update, -4.0)),
    "smashed noise": Attack(replies=noise_instead),
    "other class": Attack(replies=other_class),
    "backdoor": Attack(batches=add_backdoor),
    "free rider": Attack(replies=ride_free),
    "replay": Attack(replies=replay_first),
}


class HostileGrid(MemoryGrid):
    """Simulate nodes, of which the first ones are malicious."""

    def __init__(self, run_config: dict[str, Any], attack: Attack, malicious: int) -> None:
        def build(context: Context) -> SplitTask:
            config = RunConfig.from_run_config(context.run_config)
            task = build_task(config, on_client=True)
            return replace(task, train_batches=poisoned(task, attack, malicious))

        self._malice = {client: Malice(attack.replies) for client in range(malicious)}
        super().__init__(
            build_client_app(build), CLIENTS, run_config=run_config, tamper=self._tamper
        )

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Show the malicious clients their requests."""
        messages = list(messages)
        for message in messages:
            client = self.partition[message.metadata.dst_node_id]
            if client in self._malice:
                self._malice[client].see(message)
        self.sent.clear()  # it keeps all that ever travelled
        self.received.clear()
        return super().push_messages(messages)

    def _tamper(self, client: int, reply: Message) -> Message:
        return self._malice[client].answer(reply) if client in self._malice else reply


def poisoned(
    task: SplitTask, attack: Attack, malicious: int
) -> Callable[[ClientIdentity, int], Iterable[Batch]]:
    """Return training batches that are the attack's for the malicious clients."""

    def batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        plain = task.train_batches(client, seed)
        if attack.batches is None or client.partition_id >= malicious:
            return plain
        return [attack.batches(batch) for batch in plain]

    return batches


def run(settings: dict[str, Any], attack: Attack, malicious: int) -> dict[str, Any]:
    """Train; return accuracy, the backdoor's success, and exclusions (malicious, others)."""
    config = RunConfig.from_run_config(settings)
    strategy = build_strategy(config, build_task(config))
    left_out = {True: 0, False: 0}

    def end_round(server_round: int, arrays: ArrayRecord) -> None:
        for client in strategy.last_round.failures if server_round else ():
            left_out[client < malicious] += 1

    ended = ""
    arrays = strategy.initial_arrays()
    try:
        arrays = strategy.start(
            HostileGrid(settings, attack, malicious),
            arrays,
            num_rounds=config.num_server_rounds,
            evaluate_fn=end_round,
        ).arrays
    except (DivergedError, TrainingFailedError) as error:
        ended = str(error).split(":")[0][:60]
    batches = build_test_batches(config)

    def with_mark() -> Iterable[Batch]:
        for images, labels in batches():
            others = labels != TARGET_CLASS
            chosen = cast(Tensor, images)[others]
            yield marked(chosen), torch.full_like(labels[others], TARGET_CLASS)

    return {
        "accuracy": round(strategy.evaluate(arrays, batches).accuracy, 4),
        "success": round(strategy.evaluate(arrays, with_mark).accuracy, 4),
        "malicious_left_out": left_out[True],
        "honest_left_out": left_out[False],
        "ended": ended,
    }


KEYS = ("dataset", "algorithm", "attack", "malicious", "defence", "seed")
FIGURES = ("accuracy", "success", "malicious_left_out", "honest_left_out", "ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--setting", choices=list(SETTINGS), default="alike")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS))
    parser.add_argument("--defences", nargs="+", default=list(DEFENCES))
    parser.add_argument("--malicious", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[200])
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if given.csv.exists():
        with given.csv.open(encoding="utf-8") as file:
            done = {tuple(row[key] for key in KEYS) for row in csv.DictReader(file)}
    else:
        given.csv.write_text(",".join([*KEYS, *FIGURES]) + "\n", encoding="utf-8")
    name = Path(given.dataset).name + ("" if given.setting == "alike" else f"-{given.setting}")
    for seed in given.seeds:
        for algorithm in given.algorithms:
            for defence in given.defences:
                for attack in given.attacks:
                    for malicious in given.malicious if attack != "no attack" else [0]:
                        row = (name, algorithm, attack, str(malicious), defence, str(seed))
                        if row in done:
                            continue
                        settings = {
                            "algorithm": algorithm,
                            "dataset": given.dataset,
                            "num-server-rounds": given.rounds,
                            "seed": seed,
                            **SETTINGS[given.setting],
                            **DEFENCES[defence],
                        }
                        figures = run(settings, ATTACKS[attack], malicious)
                        with given.csv.open("a", newline="", encoding="utf-8") as file:
                            values = [*row, *(figures[key] for key in FIGURES)]
                            csv.writer(file, lineterminator="\n").writerow(values)
                        print(*row, figures, flush=True)


if __name__ == "__main__":
    main()
