"""``fsl-sage sweep``: run every combination of settings."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..simulations.preset_names import EXPERIMENTS, preset_names
from .completion import complete_experiment, complete_key
from .federation import (
    Clients,
    Cpus,
    CpusPerClient,
    Engine,
    FederationOptions,
    Gpus,
    GpusPerClient,
    RayAddress,
)
from .options import Imports, refuse_unknown_keys
from .printing import consoles, say

if TYPE_CHECKING:
    from rich.console import Console

    from ..simulations.federation import Federation
    from ..simulations.sweeps import Combination


def sweep_command(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="key=v1,v2,…",
            help="run configuration: fsl-sage keys explains the keys",
            callback=refuse_unknown_keys,
            autocompletion=complete_key,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="concurrent runs")] = 1,
    clients: Clients = None,
    engine: Engine = "auto",
    cpus_per_client: CpusPerClient = None,
    gpus_per_client: GpusPerClient = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    ray_address: RayAddress = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help=f"an experiment ({', '.join(preset_names(EXPERIMENTS))}), a run's preset, or a "
            "TOML file with values that may be lists",
            autocompletion=complete_experiment,
        ),
    ] = None,
    print_commands: Annotated[
        bool,
        typer.Option(
            "--print",
            help="print an fsl-sage run command per run that is not completed, for a Slurm array "
            "or xargs, and start nothing",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="check all runs, print each one's state, start nothing"),
    ] = False,
    imports: Imports = None,
) -> int:
    """Run every combination of lists of settings, several runs at a time.

    All runs are checked before the first one starts; completed runs are not repeated. For example:
    fsl-sage sweep --jobs 2 batch-size=32,64 distribution=noniid_dirichlet alpha=0.1,1 seed=200,201
    """
    from ..cpus import usable_cpus
    from ..simulations.engine import choose_engine
    from ..simulations.sweeps.combinations import combinations, identity
    from ..simulations.sweeps.finished import finished_runs, resume_interrupted
    from ..simulations.sweeps.preflight import check_runs
    from ..simulations.sweeps.progress import SweepProgress
    from ..simulations.sweeps.read import read_sweep
    from ..simulations.sweeps.shares import share_out
    from ..simulations.sweeps.sweep import sweep

    console, errors = consoles()
    words = {word.partition("=")[0] for word in settings or []}
    runs = combinations(read_sweep(preset, settings or []), words)
    results = Path(runs[0].config.results_dir)
    given = FederationOptions(
        clients, engine, cpus_per_client, gpus_per_client, cpus, gpus, ray_address, imports
    )
    federation = given.federation()
    done = finished_runs(results, federation.clients)
    left = [
        resume_interrupted(run, federation.clients)
        for run in runs
        if identity(run.config) not in done
    ]
    if print_commands:
        for run in left:
            say(console, _command_of(run, given))
        return 0
    jobs = min(jobs, max(1, len(left)))
    devices = given.usable_gpus() if federation.gpus_per_client else []
    shares = share_out(federation, jobs, cpus or usable_cpus(), devices)
    say(
        console,
        f"{len(runs)} runs, {len(runs) - len(left)} of them completed before"
        f"{_begun(left)}; {jobs} at a time "
        f"{_with(shares[0])}; results: {results}",
    )
    check_runs(left, shares[0])
    for_ray = given.for_ray()
    engines = {
        run.label: choose_engine(engine, run.config, federation, for_ray).name for run in left
    }
    if left:
        counted = Counter(engines.values()).most_common()
        say(console, ", ".join(f"engine {name}: {count} runs" for name, count in counted))
    if dry_run:
        _print_states(console, runs, left)
        return 0

    def chosen(run: Combination, share: Federation) -> Federation:
        return replace(share, engine=engines[run.label])

    with SweepProgress(console, len(runs), len(runs) - len(left)) as progress:
        outcomes = sweep(left, shares, progress, chosen)
    failed = [outcome for outcome in outcomes if outcome.failed]
    for outcome in failed:
        summary = outcome.summary
        log = f"\n  its log: {summary['log']}" if "log" in summary else ""
        say(errors, f"fsl-sage: {outcome.combination.label} failed: {summary['status']}{log}")
    say(console, f"{len(left) - len(failed)} runs completed, {len(failed)} failed")
    return 1 if failed else 0


def _command_of(run: Combination, options: FederationOptions) -> str:
    """Return the ``fsl-sage run`` command of a run, with the directory that the sweep gives it."""
    from ..analysis.repeat import key_words

    config = run.config
    keys = key_words(config.to_run_config(), config.unused_keys())
    directory = [f"results-dir={config.results_dir}", f"run-name={config.run_name}"]
    return shlex.join(["fsl-sage", "run", *options.words(), *keys, *directory])


def _print_states(
    console: Console, runs: Sequence[Combination], left: Sequence[Combination]
) -> None:
    """Print the state of each run: completed before, resumes, starts."""
    states = {run.config.run_name: "resumes" if run.config.resume else "starts" for run in left}
    for run in runs:
        say(console, f"{states.get(run.config.run_name, 'completed'):>9}  {run.label}")


def _with(share: Federation) -> str:
    if share.ray_address is not None:
        return f"on the Ray cluster at {share.ray_address}"
    return f"with {share.cpus} CPUs each"


def _begun(runs: Sequence[Combination]) -> str:
    begun = sum(bool(run.config.resume) for run in runs)
    return f", {begun} resume from their checkpoints" if begun else ""
