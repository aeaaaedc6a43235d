"""Replies that are not what a strategy asked for, and the reason that each is excluded with."""

from collections.abc import Callable

import torch
from flwr.app import Array, ArrayRecord, Message

from fsl_sage_flwr.client_apps.split_fed_tail import FRONT, TAIL

from ...memory_grid import Tamper, error_instead


def in_round(
    number: int, client: int, change: Callable[[Message], Message | None], kind: str = "train"
) -> Tamper:
    """Change one client's n-th reply of a kind, counted from 0."""
    seen = 0

    def tamper(partition: int, reply: Message) -> Message | None:
        nonlocal seen
        if partition != client or not reply.metadata.message_type.startswith(kind):
            return reply
        seen += 1
        return change(reply) if seen == number + 1 else reply

    return tamper


def fail(reply: Message) -> Message:
    return error_instead(reply)


def swallow(reply: Message) -> None:
    return None


def with_nan(reply: Message) -> Message:
    arrays = dict(reply.content.array_records["arrays"].to_torch_state_dict())
    name = next(iter(arrays))
    arrays[name] = torch.full_like(arrays[name], torch.nan)
    reply.content["arrays"] = ArrayRecord(arrays)
    return reply


def with_huge(record: str, value: float) -> Callable[[Message], Message]:
    def change(reply: Message) -> Message:
        arrays = reply.content.array_records[record].to_torch_state_dict()
        huge = {n: torch.full_like(t, value) if t.is_floating_point() else t
                for n, t in arrays.items()}  # fmt: skip
        reply.content[record] = ArrayRecord(huge)
        return reply

    return change


def cut_short(reply: Message) -> Message:
    """Truncate a code, which makes it invalid."""
    named = reply.content.array_records
    record = named["arrays"] if "arrays" in named else named["smashed"]
    name, array = next((n, a) for n, a in record.items() if len(a.shape) > 1)
    record[name] = Array(array.dtype, array.shape, array.stype, array.data[:-3])
    return reply


def without_smashed(reply: Message) -> Message:
    del reply.content["smashed"]
    return reply


def with_bad_label(reply: Message) -> Message:
    tensors = dict(reply.content.array_records["labels"].to_torch_state_dict())
    tensors["labels"] = tensors["labels"] + 100
    reply.content["labels"] = ArrayRecord(tensors)
    return reply


def with_other_shape(reply: Message) -> Message:
    smashed = dict(reply.content.array_records["smashed"].to_torch_state_dict())
    reply.content["smashed"] = ArrayRecord({k: v[..., :-1] for k, v in smashed.items()})
    return reply


def of_another_round(reply: Message) -> Message:
    reply.content.metric_records["metrics"]["round"] = 77
    return reply


def empty(reply: Message) -> Message:
    for name in list(reply.content):
        del reply.content[name]
    return reply


def without_gradients(reply: Message) -> Message:
    del reply.content["gradients"]
    return reply


def with_odd_gradients(reply: Message) -> Message:
    tensors = dict(reply.content.array_records["gradients"].to_torch_state_dict())
    reply.content["gradients"] = ArrayRecord({k: t[:, :-1] for k, t in tensors.items()})
    return reply


def with_more_samples(reply: Message) -> Message:
    reply.content.metric_records["metrics"]["samples"] = 7
    return reply


def with_labels(reply: Message) -> Message:
    reply.content["labels"] = ArrayRecord({"labels": torch.zeros(6)})
    return reply


ANY_REPLY = {
    "error": (fail, "error 2: the client broke"),
    "another round": (of_another_round, "reply of round 77"),
    "empty": (empty, "is missing"),
}
AVERAGED_REPLY = {
    "NaN": (with_nan, "NaN or infinite"),
    "huge weights": (with_huge("arrays", 1e38), "not finite: the weights that it sent"),
    **ANY_REPLY,
}
UPLOAD = {
    "missing record": (without_smashed, "record 'smashed' is missing"),
    "label out of range": (with_bad_label, "valid are 0 to 2"),
    "wrong shape": (with_other_shape, "expected torch.float32"),
    "infinite loss": (with_huge("smashed", 3e38), "not finite: the server half's loss is"),
    "infinite step": (with_huge("smashed", 1e25), "not finite: after its batches the server half"),
}
EXCHANGE = "query.split_fed_exchange"
PERTURBED = "query.mu_splitfed_exchange"
FRONT_REPLY = {
    "missing record": UPLOAD["missing record"],
    "wrong shape": UPLOAD["wrong shape"],
    "labels": (with_labels, "unknown records: labels"),
    "huge": (with_huge("smashed", 3e38), "not finite: the server half gives"),
}
TAIL_REPLY = {
    "missing record": (without_gradients, "record 'gradients' is missing"),
    "wrong shape": (with_odd_gradients, "expected torch.float32"),
    "samples": (with_more_samples, "reply of samples 7 in samples 3"),
    "infinite": (with_huge("gradients", torch.inf), "NaN or infinite"),
    "huge": (with_huge("gradients", 1e30), "not finite: after its batches the server half"),
}
LABELS_STAY = {
    "train": AVERAGED_REPLY,
    FRONT: {**ANY_REPLY, **FRONT_REPLY},
    TAIL: {**ANY_REPLY, **TAIL_REPLY},
}
# Where several steps follow a batch, the loss after them shows what the first has left.
LATER_LOSS = {
    **UPLOAD,
    "infinite step": (with_huge("smashed", 1e25), "not finite: the server half's loss is nan"),
}
ANSWER_WITH_UPLOAD = {"train": {**AVERAGED_REPLY, **UPLOAD}}
# Beside drawn samples the weights may overflow before the loss.
COMPLETED = {
    **ANSWER_WITH_UPLOAD["train"],
    "infinite loss": (with_huge("smashed", 3e38), "not finite: "),
}
# Which replies a strategy has, by message type, and how they go bad.
BAD_REPLIES = {
    "fed_avg": {"train": AVERAGED_REPLY},
    "sl_multi_server": {"train": AVERAGED_REPLY, EXCHANGE: {**ANY_REPLY, **UPLOAD}},
    "sl_single_server": {"train": AVERAGED_REPLY, EXCHANGE: {**ANY_REPLY, **UPLOAD}},
    "cse_fsl": ANSWER_WITH_UPLOAD,
    "fsl_sage": ANSWER_WITH_UPLOAD,
    "heron_sfl": ANSWER_WITH_UPLOAD,
    "split_frozen": {"train": {**ANY_REPLY, **LATER_LOSS}},  # it uploads both batches
    "cycle_sl": {"train": AVERAGED_REPLY, EXCHANGE: {**ANY_REPLY, **UPLOAD}},
    "mu_splitfed": {"train": AVERAGED_REPLY, PERTURBED: {**ANY_REPLY, **LATER_LOSS}},
    "ampere": {"train": AVERAGED_REPLY},
    "cse_fsl, pooled": ANSWER_WITH_UPLOAD,
    "fed_avg, buffer": {"train": AVERAGED_REPLY},
    "cse_fsl, buffer": ANSWER_WITH_UPLOAD,
    "cse_fsl, buffer, generated": {"train": COMPLETED},
    "fsl_sage, buffer": ANSWER_WITH_UPLOAD,
    "heron_sfl, buffer": ANSWER_WITH_UPLOAD,
    "sl_multi_server, labels stay": LABELS_STAY,
    "sl_single_server, labels stay": LABELS_STAY,
    "fsl_sage, warm start": {"train": {"NaN": (with_nan, "NaN or infinite")}},
    "fsl_sage, two heads": {"train": {"NaN": (with_nan, "NaN or infinite")}},
}
