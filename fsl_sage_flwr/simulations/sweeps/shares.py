"""Divide a machine among runs that run at the same time."""

from dataclasses import replace

from ...app.config import ConfigError
from ..federation import Federation


def share_out(federation: Federation, jobs: int, cpus: int, gpus: list[str]) -> list[Federation]:
    """Return the federation of each of ``jobs`` runs that run at the same time.

    CPUs are divided evenly. If there are at least as many GPUs as runs, no two runs use the
    same GPU. If there are fewer, several runs share a GPU, and fewer clients of each run use it
    at the same time.

    Parameters
    ----------
    federation : Federation
        The federation of a run that has the machine to itself.
    jobs : int
        Number of runs at the same time.
    cpus : int
        Number of CPUs that may be used.
    gpus : list of str
        The GPUs that may be used, as in ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    ConfigError
        A run's part of the machine is too small for one client; or there are several runs for a
        Ray cluster, each of which takes all of it.
    """
    if federation.ray_address is not None:
        if jobs > 1:
            raise ConfigError(
                f"--jobs {jobs}: a run takes the whole Ray cluster at {federation.ray_address}; "
                "leave it out"
            )
        return [federation]
    each = cpus // jobs
    if each < federation.cpus_per_client:
        raise ConfigError(
            f"--jobs {jobs}: {cpus} CPUs give each run {each}, and a client takes "
            f"{federation.cpus_per_client}; at most {cpus // federation.cpus_per_client} at a time"
        )
    shares = [replace(federation, cpus=each) for _ in range(jobs)]
    if not gpus:
        return shares
    if len(gpus) >= jobs:
        gpus_of_runs = [gpus[i::jobs] for i in range(jobs)]
        runs_per_gpu = 1
    else:
        gpus_of_runs = [[gpus[i % len(gpus)]] for i in range(jobs)]
        runs_per_gpu = -(-jobs // len(gpus))
    part = federation.gpus_per_client * runs_per_gpu
    if part > 1:
        raise ConfigError(
            f"--jobs {jobs}: {runs_per_gpu} runs share a GPU, and a client takes "
            f"{federation.gpus_per_client:g} of one; at most "
            f"{len(gpus) * int(1 / federation.gpus_per_client)} runs at a time"
        )
    return [
        replace(share, gpus=len(names), gpus_per_client=part, visible_gpus=",".join(names))
        for share, names in zip(shares, gpus_of_runs, strict=True)
    ]
