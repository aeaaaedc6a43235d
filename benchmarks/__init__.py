"""Measure ratios side by side on one machine."""
