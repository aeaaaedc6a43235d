"""Report a missing directory at once, without importing torch, which takes seconds."""

import argparse
from pathlib import Path

# Names of the commands' arguments for directories to read.
READ = ("directory", "first", "second", "run")


def absent_directory(options: argparse.Namespace) -> str | None:
    """Return an error for a missing directory, or None."""
    for name in READ:
        path = getattr(options, name, None)
        if isinstance(path, Path) and not path.is_dir():
            wrong = "is not a directory" if path.exists() else "does not exist"
            return f"{str(path)!r} {wrong}; name a directory of results"
    return None
