"""Average what clients trained, plainly or robustly."""
