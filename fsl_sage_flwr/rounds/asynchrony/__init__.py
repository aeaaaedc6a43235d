"""Aggregation that does not wait for slow clients: their replies are merged when they arrive."""
