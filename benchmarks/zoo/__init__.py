"""Collect thin models of several libraries, and measure their cuts."""

from .entry import Entry
from .measuring import measure
from .page import page_of
from .row import COLUMNS, Row

__all__ = ["COLUMNS", "Entry", "Row", "measure", "page_of"]
