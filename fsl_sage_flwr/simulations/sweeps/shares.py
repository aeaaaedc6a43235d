"""Divide a machine among concurrent runs."""

from dataclasses import replace

from ...app.config import ConfigError
from ..federation import Federation


def share_out(federation: Federation, jobs: int, cpus: int, gpus: list[str]) -> list[Federation]:
    """Return the federation of each of ``jobs`` concurrent runs.

    CPUs are divided evenly. With at least as many GPUs as runs, no two runs use the same GPU.
    Otherwise several runs share a GPU, with fewer concurrent clients each.

    Parameters
    ----------
    federation : Federation
        Federation of a run with the whole machine.
    jobs : int
        Number of concurrent runs.
    cpus : int
        Number of usable CPUs.
    gpus : list of str
        Usable GPUs, as in ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    ConfigError
        A run's part of the machine is too small for one client, or several runs are given for a Ray
        cluster, which a run takes completely.
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
