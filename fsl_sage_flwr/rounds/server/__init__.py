"""Train the server half and the auxiliary heads."""
