"""Measure a round: losses, scores, bytes and seconds by client."""
