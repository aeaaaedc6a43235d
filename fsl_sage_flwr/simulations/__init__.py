"""Run simulations from the command line: ``fsl-sage``."""
