"""Register the package's algorithms, in the order of every table."""

from .algorithm_registry import ALGORITHMS
from .strategies import (
    ampere,
    cse_fsl,
    cycle_sl,
    fed_avg,
    fsl_sage,
    heron_sfl,
    mu_splitfed,
    sl_multi_server,
    sl_single_server,
    split_frozen,
)

DEFAULT = fsl_sage.ALGORITHM.name

for _module in (
    fed_avg,
    sl_multi_server,
    sl_single_server,
    cycle_sl,
    cse_fsl,
    fsl_sage,
    heron_sfl,
    mu_splitfed,
    split_frozen,
    ampere,
):
    ALGORITHMS.register(_module.ALGORITHM.name, _module.ALGORITHM)
