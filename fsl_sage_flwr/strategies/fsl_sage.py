"""FSL-SAGE: clients train on an estimate of the server's gradient."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

from ..algorithm_options import SERVE_UPLOADS, HeadOptions, UploadOptions
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.fsl_sage import HANDLERS, PROBE, TRAIN, WARM_START
from ..clock.phases import NEW, Align, Down, Serve, Steps, Up
from ..config import Options, arguments_of, check_arguments, setting
from ..messages import (
    ReplySchema,
    SmashedBatches,
    SmashedReply,
    TrainReply,
    TrainRequest,
    WeightsRequest,
)
from ..rounds.asynchrony.generation import generator_of
from ..rounds.averaged_state import AveragedState
from ..rounds.instruction import Instruction
from ..rounds.round import Round, RoundBody
from ..rounds.server.aligned_heads import AlignedHeads
from ..rounds.server.round_uploads import RoundUploads
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.shared_head import SharedHead
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..splitting import AlignmentRecipe, Cut, Workload, check_twice_differentiable
from ..splitting.alignment import SCHEDULES
from ..state import State
from ..task import SplitTask


class WarmStart(SharedHead):
    """A head that all clients train on its loss in the first round, before any is aligned.

    Parameters
    ----------
    task : SplitTask
        Builds the head.
    heads : AlignedHeads
        Get the average as each client's head.

    Attributes
    ----------
    is_over : bool
        Whether the heads have been created.
    """

    def __init__(self, task: SplitTask, heads: AlignedHeads) -> None:
        super().__init__(task)
        self.is_over = False
        self._heads = heads

    def average(self, weights: Mapping[int, float], trained: Iterable[int]) -> None:
        """Average the heads; the average is the first head of each client that trained one."""
        super().average(weights, trained)
        for client in trained:
            self._heads.create(client, self.weights)
        self.is_over = True

    def state_dict(self) -> dict[str, Any]:
        """Return whether the warm start is over: before that its head is the initial one."""
        return {"is_over": self.is_over}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore that."""
        self.is_over, self._trained = bool(state["is_over"]), {}


@dataclass(frozen=True)
class AlignOptions(Options):
    """Settings of the heads and of when they are aligned: arguments of :class:`FslSage`."""

    align_interval: int = setting(
        2,
        "alignment interval l: rounds from one alignment to the next",
        group="align",
        formerly=("align-interval",),
        ge=1,
        unit="rounds",
    )
    align_dataset_size: int = setting(
        500,
        "newest uploaded samples of a client that its head is fitted to",
        group="align",
        formerly=("align-dataset-size",),
        ge=4,
        unit="samples",
    )
    warm_start: bool = setting(
        False,
        "the first round trains a shared head, as CSE-FSL does, instead of the probe",
        group="align",
        formerly=("warm-start",),
    )
    auxiliary_groups: int = setting(
        0,
        "heads that clients share; 0 gives each client a head",
        group="auxiliary",
        formerly=("auxiliary-groups",),
        ge=0,
        unit="heads",
    )


@dataclass(frozen=True)
class RecipeOptions(Options):
    """Settings of one alignment."""

    align_epochs: int = setting(
        AlignmentRecipe.epochs,
        "passes of an alignment over its samples",
        group="align",
        formerly=("align-epochs",),
        ge=1,
        unit="epochs",
    )
    align_batch_size: int = setting(
        AlignmentRecipe.batch_size,
        "batch size of an alignment",
        group="align",
        formerly=("align-batch-size",),
        ge=2,
        unit="samples",
    )
    align_lr_schedule: str = setting(
        AlignmentRecipe.schedule,
        "learning rate over the steps of one alignment; `cosine` falls to zero",
        group="align",
        formerly=("align-lr-schedule",),
        choices=SCHEDULES,
    )

    def recipe(self) -> AlignmentRecipe:
        """Return the recipe."""
        return AlignmentRecipe(self.align_epochs, self.align_batch_size, self.align_lr_schedule)

    @classmethod
    def check(cls, recipe: AlignmentRecipe) -> None:
        """Refuse a recipe that the declarations do not allow.

        Raises
        ------
        SettingError
            Names the first such value and what is valid.
        """
        check_arguments(
            cls,
            align_epochs=recipe.epochs,
            align_batch_size=recipe.batch_size,
            align_lr_schedule=recipe.schedule,
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
        In the first round clients train one head on its loss, instead of the probe: the average
        is the first head of each.
    auxiliary_groups : int
        Heads that clients share, client ``i`` the one of ``i mod auxiliary_groups``: alignment's
        cost and the server's state then grow with them and not with clients. 0 gives each client
        a head, as in the paper.
    server_steps : int
        τ: passes of the server half over each upload.
    server_pool : bool
        The server half is stepped, once all clients have replied, on batches drawn across their
        uploads (CycleSL's order), instead of on one upload after the other.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    SplitError
        The task's head has an operation, named, that cannot be differentiated twice.
    """

    trains_head = True
    private_steps = True
    replies_may_be_late = True

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
        server_steps: int = UploadOptions.server_steps,
        server_pool: bool = UploadOptions.server_pool,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(
            FslSageOptions,
            server_update_interval=server_update_interval,
            align_interval=align_interval,
            align_dataset_size=align_dataset_size,
            auxiliary_groups=auxiliary_groups,
        )
        recipe = recipe or AlignmentRecipe()
        RecipeOptions.check(recipe)
        generator = generator_of(task, settings.get("asynchrony"))
        self.server = OneServerHalf(task, server_steps, generator)
        self.heads = AlignedHeads(
            task, align_interval, align_dataset_size, recipe, auxiliary_groups
        )
        self.warm_start = WarmStart(task, self.heads) if warm_start else None
        states: dict[str, State] = {"server": self.server, "heads": self.heads}
        if self.warm_start is not None:
            states["warm_start"] = self.warm_start
        super().__init__(task, states, **settings)
        example = task.to_device(self.smashed.tensors)
        labels = task.objective.example_labels(len(example[0])).to(task.device)
        check_twice_differentiable(task.new_head("check"), example, labels, task.objective)
        self.server_update_interval, self.server_pool = server_update_interval, server_pool

    def train_round(self, round_: Round) -> RoundBody:
        """Probe the clients without a head, align the heads that are due, then train."""
        if self.warm_start is not None and not self.warm_start.is_over:
            yield from self._train_shared_head(round_, self.warm_start)
            return
        probed = self._probe_new_clients(round_)
        ready = [client for client in round_.clients if client in self.heads]
        self.heads.align(round_, ready)
        uploads = RoundUploads(round_, self.server, pooled=self.server_pool)
        for client, reply in (
            yield from round_.finish({c: self._train(round_, c, c in probed) for c in ready})
        ):
            with round_.transaction(client, self.server):
                uploads.add(client, reply)
                if reply.smashed is not None:
                    self.heads.add_samples(round_, client, reply.smashed, round_.asked)
        uploads.finish()

    def _probe_new_clients(self, round_: Round) -> set[int]:
        """Step the server half on first batches of clients without a head; create the heads."""
        new = [client for client in round_.clients if client not in self.heads]
        probed = dict[int, SmashedBatches]()
        for client, reply in round_.ask(dict.fromkeys(new, self._probe(round_))):
            with round_.transaction(client, self.server):
                self.server.step(round_, client, reply.smashed, purpose="probe")
                probed[client] = reply.smashed
        for client, smashed in probed.items():
            self.heads.create(client)
            self.heads.add_samples(round_, client, smashed, probed)
        return set(probed)

    def _train_shared_head(self, round_: Round, head: WarmStart) -> RoundBody:
        """Train one head, shared by all clients, on its loss."""
        q = self.server_update_interval
        instructions = head.instructions(round_, WARM_START, q, held_out=True)
        uploads = RoundUploads(round_, self.server, pooled=self.server_pool)
        for client, reply in (yield from round_.finish(instructions)):
            with round_.transaction(client, self.server):
                uploads.add(client, reply)
                if reply.smashed is not None:
                    self.heads.add_samples(round_, client, reply.smashed, round_.asked)
                head.collect(client, reply.auxiliary)
        uploads.finish()

    def averaged_states(self) -> dict[str, AveragedState]:
        """Return the head of a warm start."""
        states = super().averaged_states()
        return {} if self.warm_start is None or self.warm_start.is_over else states

    def _probe(self, round_: Round) -> Instruction[SmashedReply]:
        """Ask for the smashed data of a client's first batch."""
        limits = round_.settings.batches
        return Instruction(
            PROBE,
            WeightsRequest(round=round_.number, weights=round_.client_half),
            SmashedReply,
            ReplySchema(smashed=replace(round_.smashed, held_out=True)),
            sample_uploads=1,
            problem=lambda reply: limits.problem_with_probe(reply.smashed),
        )

    def _train(self, round_: Round, client: int, probed: bool) -> Instruction[TrainReply]:
        """Send client half and head, unless the node has them, for a round of training."""
        request = TrainRequest(
            round=round_.number,
            server_update_interval=self.server_update_interval,
            keep_optimizer_state=round_.keep_optimizer_state,
            trained_before=round_.has_trained(client),
            auxiliary_version=self.heads.version_of(client),
            client_half=None if probed else round_.client_half,
            auxiliary=self.heads.head_update_for(client, round_.node_of(client)),
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
        return Instruction(
            TRAIN, request, TrainReply, expected, sample_uploads=uploads, problem=problem
        )


@dataclass(frozen=True)
class FslSageOptions(RecipeOptions, AlignOptions, UploadOptions, HeadOptions):
    """Settings of FSL-SAGE."""


def _strategy(task: SplitTask, options: FslSageOptions, settings: StrategySettings) -> FslSage:
    own = arguments_of(options, UploadOptions, AlignOptions)
    return FslSage(task, recipe=options.recipe(), **own, **settings)


def _round_bytes(cut: Cut, work: Workload, options: FslSageOptions) -> int:
    """Spread the head over the rounds from one alignment to the next."""
    head = cut.head_bytes // options.align_interval
    return 2 * cut.client_bytes + options.uploaded_bytes(cut, work) + head


_INTERVAL, _WARM_START = "server-update-interval", "align.warm-start"
# Of a client without a head.
_PROBE = (
    Down(kinds=("client_half",), only=NEW, unless=_WARM_START),
    Steps(client=1, batches=1, only=NEW, unless=_WARM_START),
    Up(kinds=("smashed", "labels"), batches=1, every=_INTERVAL, only=NEW, unless=_WARM_START),
    Serve(every=_INTERVAL, batches=1, per="server-steps", only=NEW, unless=_WARM_START),
)

ALGORITHM = Algorithm(
    name="fsl_sage",
    label="FSL-SAGE",
    strategy=_strategy,
    handlers=HANDLERS,
    options=FslSageOptions,
    round_bytes=_round_bytes,
    private_steps=True,
    replies_may_be_late=True,
    schedule=(
        *_PROBE,
        Align(samples="align.dataset-size", epochs="align.epochs", groups="auxiliary.groups"),
        Down(),
        Steps(client=3, head=2),  # the head's parameters have no gradient
        Up(),
        *SERVE_UPLOADS,
    ),
    style=LineStyle("#D55E00", "*", (0, (6.0, 1.0)), 6.5),
    # Only the second alignment has all the samples that a round uploads.
)
