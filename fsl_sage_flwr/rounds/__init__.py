"""One round of training: its clients, messages, server side and figures."""
