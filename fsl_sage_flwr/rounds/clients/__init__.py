"""Know which node runs which client, and which of them to ask."""
