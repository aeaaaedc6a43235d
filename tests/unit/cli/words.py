"""What a command gets from its words."""

import os
import sys
from dataclasses import fields
from functools import partial
from typing import Any
from unittest.mock import patch

from fsl_sage_flwr.cli.entry import Parsed, parse
from fsl_sage_flwr.cli.federation import FederationOptions
from fsl_sage_flwr.simulations.federation import Federation


def arguments(*words: str) -> dict[str, Any]:
    """Return the arguments of the command, by name; ``--import`` announces nothing."""
    with patch.dict(os.environ), patch.object(sys, "path", list(sys.path)):
        parsed = parse(list(words))
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.run, partial)
    return dict(parsed.run.keywords)


def federation_options(*words: str) -> FederationOptions:
    """Return the federation's options of ``run`` with these words."""
    given = arguments("run", *words)
    return FederationOptions(**{f.name: given[f.name] for f in fields(FederationOptions)})


def federation(*words: str) -> Federation:
    """Return the federation of ``run`` with these words."""
    return federation_options(*words).federation()
