"""Refuse a run that cannot work before anything is started."""

import os
from pathlib import Path

import torch

from ..app.assembly import build_strategy, build_task, check_task, identify_data
from ..app.config import ConfigError, RunConfig
from ..app.resume import checkpoint_for
from ..app.run_path import run_path
from ..cpus import usable_cpus
from ..data import DatasetError, is_here
from ..language import LanguageModelError
from ..runs.checkpoint import CheckpointError
from ..runs.privacy_account import PrivacyAccountError, require_accountant
from ..splitting import SplitError, require_opacus
from .federation import RAY, Federation
from .process_environment import temporary_directory
from .ray_cluster import nodes_of, refuse_if_no_client_fits


def check_run(config: RunConfig, federation: Federation) -> None:
    """Check the machine, the results directory, the checkpoint, the data and the cut.

    Nothing is trained or downloaded; a model is loaded only to check that DP-SGD is possible. A Ray
    cluster is asked for its machines' resources.

    Raises
    ------
    ConfigError
        The run cannot work; one line gives the reason and a fix.
    """
    _check_device(config, federation)
    _check_machine(config, federation)
    _check_clients(config, federation)
    _check_results(config)
    try:
        if config.privacy.has_account:
            require_accountant(config.privacy.delta)
        if config.privacy.max_grad_norm:
            require_opacus()
        if config.resume:
            known = identify_data(config, download=False)
            checkpoint_for(config, Path(config.resume), known)
        check_task(config, federation.clients)
        if config.privacy.max_grad_norm and is_here(config.dataset):
            build_strategy(config, build_task(config))  # checks the halves
    except (
        CheckpointError, DatasetError, LanguageModelError, PrivacyAccountError, SplitError,
    ) as error:  # fmt: skip
        raise ConfigError(str(error)) from error


def _check_machine(config: RunConfig, federation: Federation) -> None:
    if federation.engine == RAY:
        temporary_directory()  # raises if Ray's sockets fit nowhere
    if federation.ray_address is None:
        _check_cpus_and_gpus(federation)
    else:
        refuse_if_no_client_fits(federation, nodes_of(federation.ray_address))
    fewest = config.robust.aggregated_by().fewest
    if fewest > federation.clients:
        raise ConfigError(
            f"robust.aggregation = {config.robust.aggregation!r} with robust.assumed-malicious = "
            f"{config.robust.assumed_malicious} needs {fewest} clients in a round: there are "
            f"{federation.clients}; give more --clients, or fewer malicious ones"
        )
    if config.strategy.min_train_nodes > federation.clients:
        raise ConfigError(
            f"min-train-nodes = {config.strategy.min_train_nodes}: there are {federation.clients} "
            "clients; give at most as many, or more --clients"
        )


def _check_clients(config: RunConfig, federation: Federation) -> None:
    if config.virtual_clients:
        raise ConfigError(
            f"virtual-clients = {config.virtual_clients}: fsl-sage run sets it from --clients "
            f"(here {federation.clients}); leave it out"
        )


def _check_device(config: RunConfig, federation: Federation) -> None:
    if ":" in config.device and config.device != "cuda:0" and federation.gpus_per_client:
        raise ConfigError(
            f"device = {config.device!r}: a client with a share of a GPU sees only this GPU, as "
            "cuda:0; use auto, and choose GPUs with CUDA_VISIBLE_DEVICES"
        )


def _check_cpus_and_gpus(federation: Federation) -> None:
    there = usable_cpus()
    for option, wanted, limit, what in (
        ("--cpus", federation.cpus or 0, there, "CPUs"),
        ("--cpus-per-client", federation.cpus_per_client, federation.cpus or there, "CPUs"),
        ("--gpus", federation.gpus or 0, torch.cuda.device_count(), "GPUs"),
    ):
        if wanted > limit == 0:
            raise ConfigError(f"{option} {wanted}: there are no {what} here; leave it out")
        if wanted > limit:
            raise ConfigError(f"{option} {wanted}: there are {limit} {what}; give at most {limit}")


def _check_results(config: RunConfig) -> None:
    path = run_path(config)
    there = next(place for place in (path, *path.parents) if os.path.exists(place))
    if not there.is_dir():
        raise ConfigError(
            f"results-dir = {config.results_dir!r}: {there} is a file; name a directory"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"results-dir = {config.results_dir!r}: {there} cannot be written to; name a "
            "directory that can"
        )
