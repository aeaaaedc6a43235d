"""Record a run: its directory, tables, checkpoints, lock, provenance and trackers."""
