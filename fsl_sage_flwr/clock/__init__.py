"""Compute the seconds and joules of a round for given devices and links, without running it."""
