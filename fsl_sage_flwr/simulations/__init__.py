"""Run simulations from the command line: the ``fsl-sage`` command."""
