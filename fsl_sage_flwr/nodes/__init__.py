"""Parts of every client app, independent of the algorithm."""
