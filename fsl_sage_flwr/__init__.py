"""Federated split learning on Flower."""
