"""What every client app does, whatever the algorithm."""
