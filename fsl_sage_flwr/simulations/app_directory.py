"""Write this package as a Flower app, from a checkout or from an installed wheel."""

import shutil
from importlib import resources
from pathlib import Path

import fsl_sage_flwr

SUFFIXES = {".py", ".toml"}


def write_app(directory: Path) -> Path:
    """Write ``pyproject.toml`` and the package's source to a directory.

    The copy ensures that the installed source runs: Ray's workers import from the directory in
    which the SuperLink was started, which is this one.

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
    (app / "pyproject.toml").write_text(_app_table(package))
    (app / "README.md").write_text("Written by fsl-sage run.\n")
    (app / "LICENSE").write_text("Apache-2.0\n")
    return app


def _app_table(package: Path) -> str:
    """Return the text of pyproject.toml, which a wheel has inside the package."""
    inside = resources.files("fsl_sage_flwr.simulations") / "app.toml"
    if inside.is_file():
        return inside.read_text()
    return (package.parent / "pyproject.toml").read_text()
