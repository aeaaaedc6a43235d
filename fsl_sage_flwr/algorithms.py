"""Register the package's algorithms, in the order of every table."""

from .registry import ALGORITHMS
from .strategies import cse_fsl, fed_avg, fsl_sage, heron_sfl, sl_multi_server, sl_single_server

DEFAULT = fsl_sage.ALGORITHM.name

for _module in (fed_avg, sl_multi_server, sl_single_server, cse_fsl, fsl_sage, heron_sfl):
    ALGORITHMS.register(_module.ALGORITHM.name, _module.ALGORITHM)
