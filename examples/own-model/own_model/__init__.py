"""FSL-SAGE with your own model and data."""
