"""``fsl-sage sweep``: run every combination of settings."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ...command_line.arguments.federation import AUTO
from ...cpus import usable_cpus
from ..federation import Federation
from ..gpu_share import GpuShare, automatic_share
from ..sweeps.combinations import Combination, combinations, identity
from ..sweeps.finished import finished_runs, resume_interrupted
from ..sweeps.preflight import check_runs
from ..sweeps.progress import SweepProgress
from ..sweeps.read import read_sweep
from ..sweeps.shares import share_out
from ..sweeps.sweep import sweep
from .federation_options import federation_of, usable_gpus
from .printing import say

# Keys without effect on a client's memory.
SAME_MEMORY: dict[str, Any] = {"seed": 200, "num_server_rounds": 1, "alpha": 1.0}


def sweep_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Run all combinations that are not completed yet."""
    words = {word.partition("=")[0] for word in options.settings}
    runs = combinations(read_sweep(options.preset, options.settings), words)
    results = Path(runs[0].config.results_dir)
    federation = federation_of(options)
    done = finished_runs(results, federation.clients)
    left = [
        resume_interrupted(run, federation.clients)
        for run in runs
        if identity(run.config) not in done
    ]
    jobs = min(options.jobs, max(1, len(left)))
    automatic = options.gpus_per_client == AUTO
    gpus = usable_gpus(options) if automatic or federation.gpus_per_client else []
    shares = share_out(federation, jobs, options.cpus or usable_cpus(), gpus)
    say(
        console,
        f"{len(runs)} runs, {len(runs) - len(left)} of them completed before"
        f"{_begun(left)}; {jobs} at a time "
        f"{_with(shares[0])}; results: {results}",
    )
    check_runs(left, shares[0])
    measured = _measured_shares(left, federation.clients, gpus, jobs, console) if automatic else {}

    def with_gpus(run: Combination, share: Federation) -> Federation:
        return replace(share, gpus_per_client=measured[run.label]) if automatic else share

    with SweepProgress(console, len(runs), len(runs) - len(left)) as progress:
        outcomes = sweep(left, shares, progress, with_gpus)
    failed = [outcome for outcome in outcomes if outcome.failed]
    for outcome in failed:
        summary = outcome.summary
        log = f"\n  its log: {summary['log']}" if "log" in summary else ""
        say(errors, f"fsl-sage: {outcome.combination.label} failed: {summary['status']}{log}")
    say(console, f"{len(left) - len(failed)} runs completed, {len(failed)} failed")
    return 1 if failed else 0


def _measured_shares(
    runs: Sequence[Combination], clients: int, gpus: Sequence[str], jobs: int, console: Console
) -> dict[str, float]:
    """Measure once for all runs with equal memory needs of a client; print each choice."""
    shares = dict[str, GpuShare]()
    found = {}
    for run in runs:
        group = identity(replace(run.config, **SAME_MEMORY))
        if group not in shares:
            shares[group] = automatic_share(run.config, clients, gpus, jobs)
            say(console, f"{run.label}: {shares[group].text}")
        found[run.label] = shares[group].share
    return found


def _with(share: Federation) -> str:
    if share.ray_address is not None:
        return f"on the Ray cluster at {share.ray_address}"
    return f"with {share.cpus} CPUs each"


def _begun(runs: Sequence[Combination]) -> str:
    begun = sum(bool(run.config.resume) for run in runs)
    return f", {begun} resume from their checkpoints" if begun else ""
