"""Name the last request to a node, to remove the run's files there."""

FORGET = "query.forget"
