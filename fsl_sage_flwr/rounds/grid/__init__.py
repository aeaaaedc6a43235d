"""Send a round's messages and receive the replies."""
