"""Answer a directory that is not there at once; torch, which takes seconds, is not needed."""

import argparse
from pathlib import Path

# What the commands call the directories that they read.
READ = ("directory", "first", "second", "run")


def absent_directory(options: argparse.Namespace) -> str | None:
    """Return what to say of a directory to read that is none; None if all are there."""
    for name in READ:
        path = getattr(options, name, None)
        if isinstance(path, Path) and not path.is_dir():
            wrong = "is not a directory" if path.exists() else "does not exist"
            return f"{str(path)!r} {wrong}; name a directory of results"
    return None
