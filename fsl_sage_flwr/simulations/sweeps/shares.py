"""Share a machine among runs at the same time."""

from dataclasses import replace

from ...app.config import ConfigError
from ..run import Federation


def share_out(federation: Federation, jobs: int, cpus: int, gpus: list[str]) -> list[Federation]:
    """Return the federation of each of so many runs at a time.

    CPUs are divided evenly. With as many GPUs as runs, or more, each run has GPUs of its own;
    with fewer, several runs share one, and each client's share of it is as much smaller.

    Parameters
    ----------
    federation : Federation
        As each run would have it alone.
    jobs : int
        Runs at the same time.
    cpus : int
        CPUs of the machine that may be used.
    gpus : list of str
        The GPUs that may be used, as in ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    ConfigError
        A run's share has no room for a single client.
    """
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
        own = [gpus[i::jobs] for i in range(jobs)]
        together = 1
    else:
        own = [[gpus[i % len(gpus)]] for i in range(jobs)]
        together = -(-jobs // len(gpus))
    part = federation.gpus_per_client * together
    if part > 1:
        raise ConfigError(
            f"--jobs {jobs}: {together} runs share a GPU, and a client takes "
            f"{federation.gpus_per_client:g} of one; at most "
            f"{len(gpus) * int(1 / federation.gpus_per_client)} runs at a time"
        )
    return [
        replace(share, gpus=len(mine), gpus_per_client=part, visible_gpus=",".join(mine))
        for share, mine in zip(shares, own, strict=True)
    ]
