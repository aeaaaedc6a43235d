"""FSL-SAGE: clients train on an estimate of the server's gradient."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor, nn

from ..messages import (
    CSE_FSL_TRAIN,
    FSL_SAGE_PROBE,
    FSL_SAGE_TRAIN,
    SmashedBatches,
    TrainReply,
    TrainRequest,
    WeightsRequest,
)
from ..schedules import set_rate
from ..splitting import AlignmentRecipe, check_twice_differentiable
from ..task import SplitTask
from .aligning import AlignmentJob, align_heads
from .alignment_set import AlignmentSet
from .shared_head import SharedHead
from .split_grid import SplitGrid
from .upload_strategy import UploadStrategy


@dataclass
class _ClientState:
    """What the server keeps of a client.

    ``aligned_at`` is the round in which the head was last aligned, ``version`` counts
    alignments, ``holder`` is the node that was last sent the head, with its version.
    """

    head: nn.Module
    optimizer: torch.optim.Optimizer
    samples: AlignmentSet
    aligned_at: int = -1
    version: int = 0
    holder: tuple[int, int] = (0, -1)


class FslSage(UploadStrategy):
    """FSL-SAGE (Nair et al., ICML 2025, arXiv 2505.23182, algorithm 1).

    A round ``t`` is one request and one reply per client: the averaged client half down
    (with the client's auxiliary head, when it was aligned since the client last got it);
    the trained client half and every q-th batch's smashed data up. The server half is
    stepped on each uploaded batch, clients in ascending order. Every ``align_interval``
    rounds each head is aligned with the server half's gradients on the client's newest
    uploads. A client that has no head yet, in the first round or because it joins late,
    answers a probe first: the smashed data of its first batch, which it does not upload
    again. With ``warm_start`` the first round is one of CSE-FSL instead.

    Where the code departs from the paper: gradients are per sample, so that an estimate
    means the same for every batch size; heads begin as copies of the server half's first
    blocks; a fit is a few short passes with a decaying rate instead of 100 full-batch
    steps; heads are aligned at the start of the rounds t that ``align_interval`` divides.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.fsl_sage``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    align_interval : int
        l: rounds from one alignment to the next.
    align_dataset_size : int
        Newest samples per client that a head is fitted on; a tenth more is kept to
        measure the fit on.
    recipe : AlignmentRecipe
        Passes, batch size and schedule of a fit.
    warm_start : bool
        The first round is one of CSE-FSL, instead of the probe: every client's head goes
        on from the average of those that were trained in it.
    **strategy
        Arguments of :class:`UploadStrategy`, :class:`SplitStrategy` and Flower's ``FedAvg``.

    Raises
    ------
    SplitError
        The task's head has an operation, named, that cannot be differentiated twice.
    """

    message_type = FSL_SAGE_TRAIN

    def __init__(
        self,
        task: SplitTask,
        *,
        align_interval: int = 10,
        align_dataset_size: int = 1000,
        recipe: AlignmentRecipe | None = None,
        warm_start: bool = False,
        **strategy: Any,
    ) -> None:
        super().__init__(task, **strategy)
        check_twice_differentiable(
            task.new_head("check"), task.to_device(self._spec.tensors), task.loss
        )
        self.align_interval = align_interval
        self.align_dataset_size = align_dataset_size
        self.recipe = recipe or AlignmentRecipe()
        self._clients: dict[int, _ClientState] = {}
        self._probed: set[int] = set()
        self._shared = SharedHead(task) if warm_start else None  # until it has been trained

    # Before training --------------------------------------------------------------------

    def _requests(
        self, clients: list[int], arrays: ArrayRecord, config: ConfigRecord, grid: SplitGrid
    ) -> dict[int, RecordDict]:
        self._probed = set()
        self.message_type = FSL_SAGE_TRAIN if self._shared is None else CSE_FSL_TRAIN
        if self._shared is not None:
            return self._shared_head_requests(self._shared, clients, arrays, config)
        client_half = arrays.to_torch_state_dict()
        new = [client for client in clients if client not in self._clients]
        self._probed = set(self._probe(new, client_half, grid))
        ready = [client for client in clients if client in self._clients]
        self._align([client for client in ready if self._is_due(client)])
        return {client: self._request(client, client_half, config) for client in ready}

    def _probe(
        self, clients: list[int], client_half: Mapping[str, Tensor], grid: SplitGrid
    ) -> list[int]:
        """Get a first batch from clients without a head, and step the server half on it."""
        request = WeightsRequest(self.rounds_done, client_half).to_records()
        probes: dict[int, SmashedBatches] = self._exchange(
            grid,
            dict.fromkeys(clients, request),
            FSL_SAGE_PROBE,
            lambda _, content: SmashedBatches.take_alone_from(content, self._spec),
        )
        began = time.perf_counter()
        for client in sorted(probes):
            self._step(client, probes[client], "probe", (0.0, 0.0))
        self.last_round.server_seconds += time.perf_counter() - began
        for client in sorted(probes):
            head = self.task.new_head(client)
            copy_from = getattr(head, "copy_from", None)
            if self.task.auxiliary_from_server and callable(copy_from):
                copy_from(self.task.model.server)
            self._clients[client] = self._new_client(head, probes[client])
        return sorted(probes)

    def _new_client(self, head: nn.Module, batches: SmashedBatches) -> _ClientState:
        nothing = AlignmentSet(tuple(t[:0] for t in batches.tensors), batches.labels[:0])
        return _ClientState(
            head=head,
            optimizer=self.task.auxiliary_optimizer(head.parameters()),
            samples=nothing.appended(batches.tensors, batches.labels, self.align_dataset_size),
        )

    def _is_due(self, client: int) -> bool:
        """Tell whether a round that ``align_interval`` divides has begun since the last fit."""
        latest = self.rounds_done // self.align_interval * self.align_interval
        return self._clients[client].aligned_at < latest

    def _align(self, clients: list[int]) -> None:
        if not clients:
            return
        began = time.perf_counter()
        for client in clients:
            state = self._clients[client]
            # On copies: a round that is given up goes back to the heads of before.
            state.head, state.optimizer = copy.deepcopy((state.head, state.optimizer))
            set_rate(state.optimizer, self.task.auxiliary_schedule, self.rounds_done)
        jobs = [
            AlignmentJob(client, state.head, state.optimizer, state.samples)
            for client in clients
            for state in [self._clients[client]]
        ]
        qualities = align_heads(self.task, jobs, self.recipe, self.rounds_done)
        for client in clients:
            state = self._clients[client]
            state.aligned_at, state.version = self.rounds_done, state.version + 1
        summary = self.last_round
        summary.alignment_seconds = time.perf_counter() - began
        summary.alignment_cosine = sum(q.cosine for q in qualities) / len(qualities)
        summary.alignment_relative_error = sum(q.relative_error for q in qualities) / len(qualities)

    def _request(
        self, client: int, client_half: Mapping[str, Tensor], config: ConfigRecord
    ) -> RecordDict:
        state, node = self._clients[client], self.roster.nodes[client]
        changed = state.holder != (node, state.version)
        state.holder = (node, state.version)
        request = TrainRequest(
            round=self.rounds_done,
            server_update_interval=self.server_update_interval,
            keep_optimizer_state=self.keep_optimizer_state,
            trained_before=self._trained_before(client),
            auxiliary_version=state.version,
            client_half=None if client in self._probed else client_half,
            auxiliary=state.head.state_dict() if changed else None,
        )
        return request.to_records(config)

    # While replies come in --------------------------------------------------------------

    def _read(self, client: int, content: RecordDict) -> TrainReply:
        if self._shared is not None:
            return self._read_with(content, upload="required", auxiliary=self._shared.state)
        return self._read_with(content, upload="optional" if client in self._probed else "required")

    def _leave_out(self, client: int, reason: str) -> None:
        super()._leave_out(client, reason)
        self._forget_holder(client)

    def _forget_holder(self, client: int) -> None:
        """Send the head again: the client may never have got it, or have lost it."""
        if client in self._clients:
            self._clients[client].holder = (0, -1)

    # After the last reply ---------------------------------------------------------------

    def _finish(self, replies: Mapping[int, TrainReply]) -> None:
        super()._finish(replies)
        if self._shared is not None:
            self._begin_from(self._shared, replies)
            return
        for client, reply in replies.items():
            if reply.smashed is not None:
                state = self._clients[client]
                state.samples = state.samples.appended(
                    reply.smashed.tensors, reply.smashed.labels, self.align_dataset_size
                )

    def _begin_from(self, shared: SharedHead, replies: Mapping[int, TrainReply]) -> None:
        """End the warm start: every client's head goes on from the average."""
        shared.finish(replies)
        for client, reply in replies.items():
            if reply.smashed is not None:
                head = self.task.new_head(client)
                head.load_state_dict(shared.state)
                self._clients[client] = self._new_client(head, reply.smashed)
        self._shared = None

    def _save_server(self) -> Any:
        clients = {client: replace(state) for client, state in self._clients.items()}
        return super()._save_server(), clients

    def _restore_server(self, saved: Any) -> None:
        server_half, self._clients = saved
        super()._restore_server(server_half)
        for client in self.last_round.failures:
            self._forget_holder(client)

    # Checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the heads, their optimizers and the alignment sets beside the rest.

        Before a warm start has ended there is a shared head, as it was initialised.
        """
        clients = {
            client: {
                "head": state.head.state_dict(),
                "optimizer": state.optimizer.state_dict(),
                "tensors": list(state.samples.tensors),
                "labels": state.samples.labels,
                "aligned_at": state.aligned_at,
                "version": state.version,
            }
            for client, state in self._clients.items()
        }
        return {**super().state_dict(), "clients": clients, "warm": self._shared is None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state)
        if state["warm"]:
            self._shared = None
        self._clients = {}
        for client, saved in state["clients"].items():
            head = self.task.new_head(client)
            head.load_state_dict(saved["head"])
            optimizer = self.task.auxiliary_optimizer(head.parameters())
            optimizer.load_state_dict(saved["optimizer"])
            self._clients[client] = _ClientState(
                head=head,
                optimizer=optimizer,
                samples=AlignmentSet(tuple(saved["tensors"]), saved["labels"]),
                aligned_at=saved["aligned_at"],
                version=saved["version"],
            )
