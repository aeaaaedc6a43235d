"""The package's own app: it builds a task from a run configuration and writes the results."""
