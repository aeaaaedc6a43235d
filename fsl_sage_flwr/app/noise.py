"""Check which settings of clipping and noise go together."""

from collections.abc import Iterator

from ..algorithm_registry import ALGORITHMS
from ..config.privacy import PrivacyOptions
from ..task_registry import TASKS


def problem_of(
    privacy: PrivacyOptions, algorithm: str, task: str, batches_per_exchange: int
) -> str | None:
    """Return the first problem: a key without effect, an impossible one, or no valid ε.

    Parameters
    ----------
    privacy : PrivacyOptions
        Settings of the run.
    algorithm, task : str
        Registered names.
    batches_per_exchange : int
        1 for an algorithm without exchanges.
    """
    problems = (
        *_problems_of_smashed_data(privacy, algorithm),
        *_problems_of_steps(privacy, algorithm, batches_per_exchange),
        *_problems_of_labels(privacy, task),
    )
    return next(iter(problems), None)


def _problems_of_smashed_data(privacy: PrivacyOptions, algorithm: str) -> Iterator[str]:
    clip, multiplier = privacy.smashed_clip_norm, privacy.smashed_noise_multiplier
    if multiplier and not clip:
        yield (
            f"privacy.smashed-noise-multiplier = {multiplier:g}: the noise is measured in clipping "
            "norms; set privacy.smashed-clip-norm above 0"
        )
    if privacy.smashed_noise_seed and not multiplier:
        yield (
            f"privacy.smashed-noise-seed = {privacy.smashed_noise_seed}: there is no noise to "
            "draw; set privacy.smashed-noise-multiplier above 0"
        )
    if clip and not ALGORITHMS[algorithm].sends_smashed_data:
        yield (
            f"privacy.smashed-clip-norm = {clip:g}: clients of {algorithm} send no smashed data; "
            "choose another algorithm, or leave it out"
        )


def _problems_of_steps(
    privacy: PrivacyOptions, algorithm: str, batches_per_exchange: int
) -> Iterator[str]:
    clip, multiplier = privacy.max_grad_norm, privacy.noise_multiplier
    if multiplier and not clip:
        yield (
            f"privacy.noise-multiplier = {multiplier:g}: the noise is measured in clipping "
            "norms; set privacy.max-grad-norm above 0"
        )
    if clip and not ALGORITHMS[algorithm].private_steps:
        able = ", ".join(name for name, one in ALGORITHMS.items() if one.private_steps)
        yield (
            f"privacy.max-grad-norm = {clip:g}: clients of {algorithm} take no steps of "
            f"DP-SGD; leave it out, or choose of {able}"
        )
    if clip and batches_per_exchange > 1:
        yield (
            f"splitfed.batches-per-exchange = {batches_per_exchange}: DP-SGD clips the "
            "samples of one exchange together; set it to 1, or leave out privacy.max-grad-norm"
        )
    if multiplier and privacy.delta and not privacy.has_account:
        yield (
            f"privacy.noise-multiplier = {multiplier:g}: no epsilon holds while smashed data go "
            "up without secret noise; set privacy.smashed-noise-multiplier and no "
            "privacy.smashed-noise-seed, or privacy.delta = 0 for no account"
        )


def _problems_of_labels(privacy: PrivacyOptions, task: str) -> Iterator[str]:
    if privacy.label_epsilon and not TASKS[task].randomises_labels:
        able = ", ".join(name for name, kind in TASKS.items() if kind.randomises_labels)
        yield (
            f"privacy.label-epsilon = {privacy.label_epsilon:g}: labels of task {task!r} cannot be "
            f"randomised; leave it out, or choose a classification: {able}"
        )
