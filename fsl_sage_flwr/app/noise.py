"""The noise of a run, on smashed data, steps and labels, and which of its values go together."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..registry import ALGORITHMS
from ..task_registry import TASKS


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Clipping and noise, as the run configuration's keys of the same names say; 0 is none."""

    smashed_clip_norm: float
    smashed_noise_multiplier: float
    smashed_noise_seed: int
    client_clip_norm: float
    client_noise_multiplier: float
    label_epsilon: float
    delta: float

    @property
    def has_account(self) -> bool:
        """Whether the noise on smashed data has an ε: it is there, and nobody knows its seed."""
        unknown = self.smashed_noise_multiplier > 0 and self.smashed_noise_seed == 0
        return unknown and self.delta > 0

    def problem(self, algorithm: str, task: str, batches_per_exchange: int) -> str | None:
        """Return what is wrong: a key without effect, what cannot be done, or an ε that is none.

        Parameters
        ----------
        algorithm, task : str
            Registered names.
        batches_per_exchange : int
            1 for an algorithm without exchanges.
        """
        problems = (
            *self._problems_of_smashed_data(algorithm),
            *self._problems_of_steps(algorithm, batches_per_exchange),
            *self._problems_of_labels(task),
        )
        return next(iter(problems), None)

    def _problems_of_smashed_data(self, algorithm: str) -> Iterator[str]:
        clip, multiplier = self.smashed_clip_norm, self.smashed_noise_multiplier
        if multiplier and not clip:
            yield (
                f"smashed-noise-multiplier = {multiplier:g}: the noise is measured in clipping "
                "norms; set smashed-clip-norm above 0"
            )
        if self.smashed_noise_seed and not multiplier:
            yield (
                f"smashed-noise-seed = {self.smashed_noise_seed}: there is no noise to draw; set "
                "smashed-noise-multiplier above 0"
            )
        if clip and not ALGORITHMS[algorithm].sends_smashed_data:
            yield (
                f"smashed-clip-norm = {clip:g}: clients of {algorithm} send no smashed data; "
                "choose another algorithm, or leave it out"
            )

    def _problems_of_steps(self, algorithm: str, batches_per_exchange: int) -> Iterator[str]:
        clip, multiplier = self.client_clip_norm, self.client_noise_multiplier
        if multiplier and not clip:
            yield (
                f"client-noise-multiplier = {multiplier:g}: the noise is measured in clipping "
                "norms; set client-clip-norm above 0"
            )
        if clip and not ALGORITHMS[algorithm].private_steps:
            able = ", ".join(name for name, one in ALGORITHMS.items() if one.private_steps)
            yield (
                f"client-clip-norm = {clip:g}: clients of {algorithm} take no steps of "
                f"DP-SGD; leave it out, or choose of {able}"
            )
        if clip and batches_per_exchange > 1:
            yield (
                f"batches-per-exchange = {batches_per_exchange}: DP-SGD clips the "
                "samples of one exchange together; set it to 1, or leave out client-clip-norm"
            )
        if multiplier and self.delta and not self.has_account:
            yield (
                f"client-noise-multiplier = {multiplier:g}: no epsilon holds while smashed data go "
                "up without secret noise; set smashed-noise-multiplier and no smashed-noise-seed, "
                "or delta = 0 for no account"
            )

    def _problems_of_labels(self, task: str) -> Iterator[str]:
        if self.label_epsilon and not TASKS[task].randomises_labels:
            able = ", ".join(name for name, kind in TASKS.items() if kind.randomises_labels)
            yield (
                f"label-epsilon = {self.label_epsilon:g}: labels of task {task!r} cannot be "
                f"randomised; leave it out, or choose a classification: {able}"
            )
