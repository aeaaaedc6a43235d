"""FSL-SAGE with a model and data of one's own."""
