"""What runs the package's own app: from a run configuration to a task, and to a run's results."""
