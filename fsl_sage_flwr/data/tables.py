"""Read tables with `datasets` from a local directory or the hub."""

from __future__ import annotations

import glob
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from .errors import DatasetError
from .hub import hub_or_cache

if TYPE_CHECKING:
    import datasets

# Errors of the readers of CSV, JSON and Parquet.
UNREADABLE = (OSError, ValueError, RuntimeError, TypeError)
WITH_SCHEMA = (".parquet", ".arrow")


def read_tables(source: str, what: str, revision: str | None = None) -> dict[str, datasets.Dataset]:
    """Return the splits of a dataset by name.

    Parameters
    ----------
    source : str
        Path of a directory, without wildcards; or a name on the hub.
    what : str
        Name of the dataset in errors.
    revision : str, optional
        Revision on the hub.

    Raises
    ------
    DatasetError
        The data cannot be read; the message has the cause, such as a line of a CSV file.
    """
    import datasets

    local = Path(source).is_dir()
    more: dict[str, Any] = {"revision": revision} if revision else {}
    fix = (
        "the directory must hold Parquet, CSV or JSON Lines files, or a folder of images for each "
        "class (docs/how-to/data.md)"
        if local
        else "without a network give the absolute path of a local copy"
    )
    unreachable = ""
    try:
        if local:
            return dict(datasets.load_dataset(source, **more, **_literally(source, what)))
        with hub_or_cache() as unreachable:
            return dict(datasets.load_dataset(source, **more))
    except DatasetError:
        raise
    except (*UNREADABLE, datasets.exceptions.DatasetsError) as error:
        why = shorten(" ".join(str(_cause_of(error)).split()), 400, placeholder=" …")
        why = f"{unreachable}; {why}" if unreachable else why
        raise DatasetError(f"dataset {what!r} cannot be loaded ({why}); {fix}") from error


def refuse_other_class_names(directory: str, column: str, names: list[str], what: str) -> None:
    """Refuse files with other class names, or with the same names in another order.

    `datasets` applies one file's names to all: the labels of the others would be swapped.

    Parameters
    ----------
    directory : str
        Path of the dataset.
    column : str
        Name of the label column.
    names : list of str
        Class names of the loaded table.
    what : str
        Name of the dataset in the error.

    Raises
    ------
    DatasetError
        A Parquet or Arrow file has other names.
    """
    import datasets

    builder = datasets.load_dataset_builder(directory, **_literally(directory, what))
    splits = builder.config.data_files or {}
    for file in (file for of_split in splits.values() for file in of_split):
        if not file.endswith(WITH_SCHEMA):
            continue
        feature = datasets.Features.from_arrow_schema(_schema_of(file)).get(column)
        if isinstance(feature, datasets.ClassLabel) and feature.names != names:
            theirs, ours = (
                shorten(", ".join(each), 100, placeholder=" …") for each in (feature.names, names)
            )
            raise DatasetError(
                f"dataset {what!r}: {Path(file).name} names the classes of {column!r} {theirs}; "
                f"another file {ours}: write all files with the same ClassLabel"
            )


def _literally(directory: str, what: str) -> dict[str, Any]:
    """Return arguments that make `datasets` take a path without wildcards."""
    from datasets.data_files import get_data_patterns

    path = str(Path(directory).resolve())
    if "::" in path:
        raise DatasetError(
            f"dataset {what!r}: '::' in a path means an archive to `datasets`; rename the directory"
        )
    escaped = glob.escape(path)
    if escaped == path:
        return {}
    card = Path(path) / "README.md"
    if card.is_file() and "data_files:" in card.read_text(encoding="utf-8", errors="replace"):
        raise DatasetError(
            f"dataset {what!r}: its README.md lists data_files, which cannot be found in a "
            "directory with one of *?[ in its path; rename the directory"
        )
    patterns = get_data_patterns(escaped)
    return {
        "data_files": {
            split: [f"{escaped}/{pattern}" for pattern in of_split]
            for split, of_split in patterns.items()
        }
    }


def _schema_of(file: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.endswith(".parquet"):
        return pq.read_schema(file)
    with pa.memory_map(file) as source:
        try:
            return pa.ipc.open_stream(source).schema
        except pa.ArrowInvalid:
            return pa.ipc.open_file(source).schema


def _cause_of(error: BaseException) -> BaseException:
    """Return the error of a file's reader, which `datasets` wraps in a generic one."""
    import datasets

    while isinstance(error, datasets.exceptions.DatasetsError) and error.__cause__ is not None:
        error = error.__cause__
    return error
