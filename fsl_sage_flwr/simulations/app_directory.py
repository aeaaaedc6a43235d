"""Write this package as a Flower app, from a checkout or from an installed wheel."""

import shutil
from pathlib import Path

import fsl_sage_flwr

SUFFIXES = {".py", ".toml", ".json"}


def write_app(directory: Path) -> Path:
    """Write ``pyproject.toml`` and the package's source to a directory.

    The copy ensures that the installed source runs: Ray's workers import from the SuperLink's
    working directory, which is this one.

    Returns
    -------
    Path
        The app's directory, for ``flwr run``.
    """
    package = Path(fsl_sage_flwr.__file__).parent
    app = directory / "app"
    for source in package.rglob("*"):
        if source.suffix in SUFFIXES and "__pycache__" not in source.parts:
            target = app / package.name / source.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (app / "pyproject.toml").write_text(_app_table(), encoding="utf-8")
    (app / "README.md").write_text("Written by fsl-sage run.\n", encoding="utf-8")
    (app / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
    return app


def _app_table() -> str:
    """Return the text of pyproject.toml, which a wheel contains inside the package."""
    package = Path(fsl_sage_flwr.__file__).parent
    inside = package / "simulations" / "app.toml"
    file = inside if inside.is_file() else package.parent / "pyproject.toml"
    return file.read_text(encoding="utf-8")
