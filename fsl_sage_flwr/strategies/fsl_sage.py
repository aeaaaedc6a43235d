"""FSL-SAGE: clients train on an estimate of the server's gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

from ..client_apps.fsl_sage import HANDLERS, PROBE, TRAIN, WARM_START
from ..config import Options, check_arguments, setting
from ..messages import ReplySchema, SmashedReply, TrainReply, TrainRequest, WeightsRequest
from ..registry import Algorithm, LineStyle
from ..rounds.part import AveragedPart
from ..rounds.question import Question, Questions
from ..rounds.round import Round
from ..rounds.server.aligned_heads import AlignedHeads
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.shared_head import SharedHead
from ..rounds.settings import StrategySettings
from ..splitting import AlignmentRecipe, Cut, Workload, check_twice_differentiable
from ..splitting.alignment import SCHEDULES
from ..task import SplitTask
from ..tensor_store import TensorStore
from .common_options import HeadOptions, UploadOptions
from .split_strategy import SplitStrategy


@dataclass(frozen=True)
class AlignOptions(Options):
    """Settings of the alignment."""

    align_interval: int = setting(
        2,
        "alignment interval l: rounds from one alignment to the next",
        key="align.interval",
        formerly=("align-interval",),
        ge=1,
        unit="rounds",
    )
    align_epochs: int = setting(
        AlignmentRecipe.epochs,
        "passes of an alignment over its samples",
        key="align.epochs",
        formerly=("align-epochs",),
        ge=1,
        unit="epochs",
    )
    align_batch_size: int = setting(
        AlignmentRecipe.batch_size,
        "batch size of an alignment",
        key="align.batch-size",
        formerly=("align-batch-size",),
        ge=2,
        unit="samples",
    )
    align_dataset_size: int = setting(
        500,
        "newest uploaded samples of a client that its head is fitted to",
        key="align.dataset-size",
        formerly=("align-dataset-size",),
        ge=4,
        unit="samples",
    )
    align_lr_schedule: str = setting(
        AlignmentRecipe.schedule,
        "learning rate over the steps of one alignment: `cosine` falls to zero, `constant`",
        key="align.lr-schedule",
        formerly=("align-lr-schedule",),
        choices=SCHEDULES,
    )
    warm_start: bool = setting(
        False,
        "the first round trains a shared head, as CSE-FSL does, instead of the probe",
        key="align.warm-start",
        formerly=("warm-start",),
    )
    auxiliary_groups: int = setting(
        0,
        "heads that clients share; 0: one head per client",
        key="auxiliary.groups",
        formerly=("auxiliary-groups",),
        ge=0,
        unit="heads",
    )


class FslSage(SplitStrategy):
    """FSL-SAGE (Nair et al., ICML 2025, arXiv 2505.23182, algorithm 1).

    A round ``t`` is one request and one reply per client: the averaged client half down
    (with the client's auxiliary head, when it was aligned since the client last got it);
    the trained client half and every q-th batch's smashed data up. The server half is
    stepped on each uploaded batch, clients in ascending order. Every ``align_interval``
    rounds each head is aligned with the server half's gradients on the client's newest
    uploads. A client that has no head yet, in the first round or because it joins late,
    answers a probe first: the smashed data of its first batch, which it does not upload
    again. With ``warm_start`` clients train a shared head in the first round instead.

    Where the code departs from the paper: gradients are per sample, so that an estimate
    means the same for every batch size; heads begin as copies of the server half's first
    blocks; a fit is a few short passes with a decaying rate instead of 100 full-batch
    steps; heads are aligned at the start of the rounds t that ``align_interval`` divides.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.fsl_sage``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    server_update_interval : int
        q: batches per upload.
    align_interval : int
        l: rounds from one alignment to the next.
    align_dataset_size : int
        Newest samples per client that a head is fitted on; beside them a tenth as many are
        kept of the samples that are never fitted, to measure on.
    recipe : AlignmentRecipe, optional
        Passes, batch size and schedule of a fit.
    warm_start : bool
        In the first round clients train one head on its own loss, instead of the probe: every
        client's head goes on from the average of those.
    auxiliary_groups : int
        Heads that clients share, client ``i`` the one of ``i mod auxiliary_groups``: alignment's
        cost and the server's state then grow with them and not with clients. 0 is a head of its
        own for each client, as in the paper.
    **settings
        Arguments of :class:`SplitStrategy`.

    Raises
    ------
    SplitError
        The task's head has an operation, named, that cannot be differentiated twice.
    """

    private_steps = True

    def __init__(
        self,
        task: SplitTask,
        *,
        server_update_interval: int = UploadOptions.server_update_interval,
        align_interval: int = AlignOptions.align_interval,
        align_dataset_size: int = AlignOptions.align_dataset_size,
        recipe: AlignmentRecipe | None = None,
        warm_start: bool = AlignOptions.warm_start,
        auxiliary_groups: int = AlignOptions.auxiliary_groups,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(
            FslSageOptions,
            server_update_interval=server_update_interval,
            align_interval=align_interval,
            align_dataset_size=align_dataset_size,
            auxiliary_groups=auxiliary_groups,
        )
        self.server = OneServerHalf(task)
        self.heads = AlignedHeads(
            task,
            align_interval,
            align_dataset_size,
            recipe or AlignmentRecipe(),
            auxiliary_groups,
        )
        # There is a shared head until the first round that counts has trained it.
        self._shared = SharedHead(task) if warm_start else None
        super().__init__(task, {"server": self.server, "heads": self.heads}, **settings)
        if self._shared is not None:
            self._shared.aggregation = self.aggregation
        example = task.to_device(self.smashed.tensors)
        labels = task.objective.example_labels(len(example[0])).to(task.device)
        check_twice_differentiable(task.new_head("check"), example, labels, task.objective)
        self.server_update_interval = server_update_interval

    def begin(self, round_: Round) -> Questions[TrainReply]:
        """Probe the clients without a head, align the heads that are due, send what is new."""
        if self._shared is not None:
            q = self.server_update_interval
            return self._shared.questions(round_, WARM_START, q, held_out=True)
        probed = self._probe(round_, [c for c in round_.clients if c not in self.heads])
        ready = [client for client in round_.clients if client in self.heads]
        self.heads.align(round_, ready)
        return {client: self._question(round_, client, client in probed) for client in ready}

    def serve(self, round_: Round, client: int, reply: TrainReply) -> None:
        """Step the server half on the upload, and keep it for alignment."""
        if not self.server.step_on_upload(round_, client, reply):
            return
        if reply.smashed is not None:
            self.heads.keep(round_, client, reply.smashed, round_.asked)
        if self._shared is not None:
            self._shared.keep(client, reply)

    def end(self, round_: Round, replies: Mapping[int, TrainReply]) -> None:
        """Keep who holds which head; after a warm start every client has one."""
        if self._shared is None:
            for client in replies:
                self.heads.note_holder(client, round_.node_of(client))
            return
        self._shared.average(round_.weights)
        for client in replies:
            self.heads.begin(client, self._shared.weights)
        self._shared = None

    def averaged_parts(self) -> Sequence[AveragedPart]:
        """Return the heads of a warm start."""
        return [] if self._shared is None else [self._shared]

    def _probe(self, round_: Round, clients: list[int]) -> set[int]:
        """Ask clients for a first batch, step the server half on it, and make their heads."""
        request = WeightsRequest(round=round_.number, weights=round_.client_half)
        expected = ReplySchema(smashed=replace(round_.smashed, held_out=True))
        limits = round_.settings.batches
        probe = Question(
            PROBE, request, SmashedReply, expected, sample_uploads=1,
            problem=lambda answer: limits.problem_with_probe(answer.smashed),
        )  # fmt: skip

        def serve(client: int, answer: SmashedReply) -> SmashedReply:
            self.server.step(round_, client, answer.smashed, purpose="probe")
            return answer

        good = round_.ask_and_serve(dict.fromkeys(clients, probe), serve)
        for client, answer in good.items():
            self.heads.begin(client)
            self.heads.keep(round_, client, answer.smashed, good)
        return set(good)

    def _question(self, round_: Round, client: int, probed: bool) -> Question[TrainReply]:
        request = TrainRequest(
            round=round_.number,
            server_update_interval=self.server_update_interval,
            keep_optimizer_state=round_.keep_optimizer_state,
            trained_before=round_.has_trained(client),
            auxiliary_version=self.heads.version_of(client),
            client_half=None if probed else round_.client_half,
            auxiliary=self.heads.news(client, round_.node_of(client)),
        )
        expected = ReplySchema(
            equal={"round": round_.number},
            weights={"client_half": round_.client_half_like},
            smashed=replace(round_.smashed, held_out=True),
            # The probe already brought the first batch, and there may be no other to upload.
            smashed_may_be_missing=probed,
            weighted_by=round_.weighted_by,
        )
        # The probe's samples are left out of the first epoch, so the two make one upload in it.
        uploads = self.task.local_epochs - (1 if probed else 0)
        problem = partial(round_.problem_with_upload, interval=self.server_update_interval)
        return Question(
            TRAIN, request, TrainReply, expected, sample_uploads=uploads, problem=problem
        )

    def keep_files_in(self, folder: TensorStore) -> None:
        """Keep the head of a warm start there too."""
        super().keep_files_in(folder)
        if self._shared is not None:
            self._shared.files = folder

    @property
    def auxiliary_parameters(self) -> int:
        """Number of parameters of a client's head."""
        return self.task.head_parameters()

    def state_dict(self) -> dict[str, Any]:
        """Return whether the heads have begun, beside the rest."""
        return {**super().state_dict(), "warm": self._shared is None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; before a warm start has ended the shared head is fresh."""
        super().load_state_dict(state)
        if state["warm"]:
            self._shared = None


@dataclass(frozen=True)
class FslSageOptions(AlignOptions, UploadOptions, HeadOptions):
    """Settings of FSL-SAGE."""


def _strategy(task: SplitTask, options: FslSageOptions, settings: StrategySettings) -> FslSage:
    return FslSage(
        task,
        server_update_interval=options.server_update_interval,
        align_interval=options.align_interval,
        align_dataset_size=options.align_dataset_size,
        warm_start=options.warm_start,
        auxiliary_groups=options.auxiliary_groups,
        recipe=AlignmentRecipe(
            epochs=options.align_epochs,
            batch_size=options.align_batch_size,
            schedule=options.align_lr_schedule,
        ),
        **settings,
    )


def _round_bytes(cut: Cut, work: Workload, options: FslSageOptions) -> int:
    """Spread the head over the rounds from one alignment to the next."""
    head = cut.head_bytes // options.align_interval
    return 2 * cut.client_bytes + options.uploaded_bytes(cut, work) + head


ALGORITHM = Algorithm(
    name="fsl_sage",
    label="FSL-SAGE",
    strategy=_strategy,
    handlers=HANDLERS,
    options=FslSageOptions,
    round_bytes=_round_bytes,
    private_steps=True,
    style=LineStyle("#D55E00", "*", (0, (6.0, 1.0)), 6.5),
    # Only the second alignment has all the samples that a round uploads.
    rehearsal=lambda options: (replace(options, align_interval=1), 2),
)
