"""Values of a run configuration that do not fit together."""

from ..algorithm_options import ExchangeOptions, ServerStepsOptions, UploadOptions
from ..algorithm_registry import ALGORITHMS
from ..config import Options
from ..config.privacy import PrivacyOptions
from ..config.strategy import StrategyOptions
from ..rounds.aggregation.aggregation import RobustOptions
from ..rounds.aggregation.fed_opt import FED_AVG, FedOptOptions
from ..rounds.asynchrony.options import AsyncOptions
from .core_options import CoreOptions


def problem_with_named_cut(core: CoreOptions) -> str | None:
    """Return the problem with limits on a cut that is named."""
    limits = {
        "auto-cut.max-params": core.client_max_params,
        "auto-cut.max-flops": core.client_max_flops,
    }
    key = next((key for key, value in limits.items() if value), None)
    if key is None or core.cut == "auto":
        return None
    return f"{key} = {limits[key]}: it has no effect on a cut that is named; set cut = 'auto'"


def problem_with_training(
    core: CoreOptions, strategy: StrategyOptions, fedopt: FedOptOptions
) -> str | None:
    """Return the problem with keys on the training of clients that train nothing."""
    if ALGORITHMS[core.algorithm].trains_client_half:
        return None
    given = {
        "proximal-mu": strategy.proximal_mu,
        "fedopt.optimizer": "" if fedopt.optimizer == FED_AVG else fedopt.optimizer,
    }
    key = next((key for key, value in given.items() if value), None)
    return key and (
        f"{key} = {given[key]!r}: clients of {core.algorithm} train nothing; choose another "
        "algorithm, or leave it out"
    )


def problem_with_late_replies(
    core: CoreOptions,
    options: Options,
    late: AsyncOptions,
    strategy: StrategyOptions,
    robust: RobustOptions,
) -> str | None:
    """Return the problem with replies that are merged in a later round."""
    if not late.buffer:
        return None
    if not ALGORITHMS[core.algorithm].replies_may_be_late:
        able = ", ".join(name for name, one in ALGORITHMS.items() if one.replies_may_be_late)
        return (
            f"async.buffer = {late.buffer}: {core.algorithm} needs its clients in step; leave "
            f"it out, or choose of {able}"
        )
    problem = late.problem_with(
        fraction_reply=strategy.fraction_reply,
        min_train_nodes=strategy.min_train_nodes,
        fewest=robust.aggregated_by().fewest,
    )
    if problem is not None:
        return f"async.buffer = {late.buffer}: {problem}"
    if late.generate and not ALGORITHMS[core.algorithm].sends_smashed_data:
        return (
            f"async.generate = {late.generate}: clients of {core.algorithm} send no smashed "
            "data; leave it out"
        )
    pooled = isinstance(options, UploadOptions) and options.server_pool
    return late.problem_in_a_pool() if pooled else None


def problem_with_labels(core: CoreOptions, options: Options, privacy: PrivacyOptions) -> str | None:
    """Return the problem with labels that stay on the clients."""
    if core.labels == "server":
        return None
    if not ALGORITHMS[core.algorithm].labels_may_stay:
        able = ", ".join(name for name, one in ALGORITHMS.items() if one.labels_may_stay)
        why = (
            "its server computes losses from smashed data and labels"
            if ALGORITHMS[core.algorithm].sends_smashed_data
            else "its clients have the whole model, and send no labels"
        )
        return (
            f"labels = 'client': {core.algorithm} cannot, or need not, keep labels on clients: "
            f"{why}; leave it out, or choose of {able}"
        )
    if core.cut == "auto":
        return "cut = 'auto': it does not know the tail's bytes (labels = 'client'); name a cut"
    if isinstance(options, ExchangeOptions) and options.batches_per_exchange > 1:
        return (
            f"splitfed.batches-per-exchange = {options.batches_per_exchange}: with "
            "labels = 'client' each batch is one exchange; set it to 1"
        )
    if isinstance(options, ServerStepsOptions) and options.server_steps > 1:
        return (
            f"server-steps = {options.server_steps}: with labels = 'client' each step needs "
            "the clients' gradients of new hidden states; set it to 1"
        )
    if privacy.max_grad_norm:
        return (
            f"privacy.max-grad-norm = {privacy.max_grad_norm:g}: with labels = 'client' "
            "clients also send gradients of hidden states, which DP-SGD does not cover; leave "
            "one of both out"
        )
    return None
