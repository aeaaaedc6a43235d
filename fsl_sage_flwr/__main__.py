"""``python -m fsl_sage_flwr``, which is the ``fsl-sage`` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
