"""Options of commands that draw pictures, and the writing of their files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from click import UsageError

from ..analysis.choices import FORMATS
from .printing import write

if TYPE_CHECKING:
    from ..analysis.pictures import Picture

OutDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="directory of the pictures (default: DIR/pictures)"),
]


def some_of(valid: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """Return a callback that splits values at commas, and refuses all but the valid ones."""

    def check(values: list[str] | None) -> list[str] | None:
        found = list(dict.fromkeys(name for value in values or () for name in value.split(",")))
        for name in found:
            if name not in valid:
                raise typer.BadParameter(f"{name!r} is not valid; give {', '.join(valid)}")
        return found or None

    return check


Formats = Annotated[
    list[str] | None,
    typer.Option(
        metavar="png,svg,pdf",
        help="file formats of the pictures (default: all)",
        callback=some_of(FORMATS),
    ),
]


def picture_folder(directory: Path, out_dir: Path | None) -> Path:
    """Create the directory of the pictures of some results, and return it.

    Raises
    ------
    UsageError
        It cannot be created.
    """
    folder = out_dir or directory / "pictures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out-dir {str(folder)!r} cannot be created: {error.strerror}"
        ) from error
    return folder


def write_picture(
    picture: "Picture", folder: Path, formats: Sequence[str] | None
) -> Iterator[Path]:
    """Write a picture in the given formats, or in all; yield the file of each."""
    from ..analysis.pictures import encoded

    for suffix in formats or FORMATS:
        path = folder / f"{picture.name}.{suffix}"
        write(path, encoded(picture, cast(Literal["png", "svg", "pdf"], suffix)))
        yield path
