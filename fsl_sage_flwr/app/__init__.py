"""The package's own app: build a task from a run configuration, and write the results."""
