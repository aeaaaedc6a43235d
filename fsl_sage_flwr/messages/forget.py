"""The last question to a node: remove what the run has left there."""

FORGET = "query.forget"
