"""quickstart-split-learning: federated split learning with Flower and PyTorch."""
