"""Refuse replies that are not finite, too large or too many."""
