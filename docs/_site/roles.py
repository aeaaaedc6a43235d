"""Docstrings name things as Sphinx does, ``:class:`Round```; Markdown has the name alone."""

import re
from typing import Any

import griffe


class PlainRoles(griffe.Extension):
    """Take Sphinx's roles out of docstrings, before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change an object's docstring when it has been read."""
        if obj.docstring:
            obj.docstring.value = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
