"""What a command gets from its words."""

from functools import partial
from typing import Any

from fsl_sage_flwr.cli.entry import Parsed, parse
from fsl_sage_flwr.cli.federation import federation_of
from fsl_sage_flwr.simulations.federation import Federation

OF_THE_FEDERATION = (
    "clients", "cpus_per_client", "gpus_per_client", "cpus", "gpus", "ray_address", "imports",
)  # fmt: skip


def arguments(*words: str) -> dict[str, Any]:
    """Return the arguments of the command, by name."""
    parsed = parse(list(words))
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.run, partial)
    return dict(parsed.run.keywords)


def federation(*words: str) -> Federation:
    """Return the federation of ``run`` with these words."""
    given = arguments("run", *words)
    return federation_of(**{name: given[name] for name in OF_THE_FEDERATION})
