"""Registries: the algorithms, codecs, datasets, … that a run can name.

Each kind has one registry, beside the class of its entries. Three ways lead into it:

- ``CODECS.register("mine", Mine())`` in a module that the server and all clients import;
- an entry point of an installed package, in the group ``fsl_sage_flwr.codecs``, whose value is the
  entry (``my_package:MINE``) or a module that registers entries;
- ``fsl-sage … --import my_module``, a module that registers entries. Its name travels to every
  process of a run in the environment variable :data:`IMPORTS`.

Entry points and modules are imported when a registry is first listed or asked for a name that it
lacks.
"""

import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

from .user_error import UserError

PREFIX = "fsl_sage_flwr."
# Names of modules, separated by commas.
IMPORTS = "FSL_SAGE_IMPORT"

T = TypeVar("T")
Check = Callable[[str, T, Mapping[str, T]], None]
"""Refuses an entry: from its name, the entry and the registered entries; raises ValueError."""

# The ServerApp and the ClientApp of a simulation are imported by two threads of one process.
_loading = RLock()


class ExtensionError(ValueError, UserError):
    """An entry point, or a module of ``--import``, cannot be loaded; the text is one line."""

    exit_status = 2


class UnknownNameError(KeyError, ValueError):
    """A registry lacks a name; the text has all valid names and the closest."""

    def __init__(self, registry: "Registry[Any]", name: str) -> None:
        super().__init__(name)
        self._registry, self._name = registry, name

    # Made when it is read: ``get`` drops the error, and a name may come from a client.
    def __str__(self) -> str:
        return f"{self._registry.kind} {self._name!r}: {self._registry.problem(self._name)}"


class Registry(Mapping[str, T]):
    """Entries of one kind, by name, in the order of registration.

    Parameters
    ----------
    kind : str
        What an entry is, in the singular; with an s it names the group of entry points.
    entry_type : type
        Class of the entries.
    check : callable, optional
        Raises ValueError for an entry that cannot be registered.
    reserved : sequence of str
        Valid names that no entry can have.

    Examples
    --------
    >>> CODECS = Registry[Codec]("codec", Codec)
    >>> CODECS.register("mine", Mine())
    """

    def __init__(
        self,
        kind: str,
        entry_type: type[Any],
        check: Check[T] | None = None,
        reserved: Sequence[str] = (),
    ) -> None:
        self.kind, self.group = kind, f"{PREFIX}{kind}s"
        self._type, self._check, self._reserved = entry_type, check, tuple(reserved)
        self._entries: dict[str, T] = {}
        self._is_loaded = False

    def register(self, name: str, entry: T) -> None:
        """Add an entry.

        Raises
        ------
        ValueError
            The name is taken or empty, the entry has another class, or the check refuses it.
        """
        if name in self._entries or name in self._reserved:
            raise ValueError(f"{self.kind} {name!r} is registered already; choose another name")
        if not isinstance(entry, self._type):
            raise ValueError(
                f"{self.kind} {name!r}: {entry!r} is no {self._type.__name__}; register an "
                f"instance of {self._type.__name__}"
            )
        if self._check is not None:
            self._check(name, entry, self._entries)
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Remove an entry, for example before a notebook's cell registers it again.

        Raises
        ------
        UnknownNameError
            There is none of that name.
        """
        self[name]
        del self._entries[name]

    def problem(self, name: str) -> str | None:
        """Return all valid names, and the closest, for an unknown name; None for a valid one."""
        if name in self._reserved or name in self:
            return None
        valid = [*self._reserved, *self]
        close = get_close_matches(name, valid, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"valid are {', '.join(valid)}{hint}"

    def __getitem__(self, name: str) -> T:
        # Without loading: the package's own modules use entries while they are imported.
        if name not in self._entries:
            self._load()
        if name not in self._entries:
            raise UnknownNameError(self, name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        """Load the modules of ``--import`` and this kind's entry points, once.

        Raises
        ------
        ExtensionError
            One cannot be loaded or registered.
        """
        with _loading:
            if self._is_loaded:
                return
            self._is_loaded = True  # what is loaded may ask this registry
            try:
                _import_modules()
                for point in _installed().select(group=self.group):
                    self._register_entry_point(point)
            except BaseException:
                self._is_loaded = False
                raise

    def _register_entry_point(self, point: metadata.EntryPoint) -> None:
        try:
            value = point.load()
            # A module has registered its entries when it was imported; so may an entry's have.
            if not isinstance(value, ModuleType) and self._entries.get(point.name) is not value:
                self.register(point.name, value)
        except (ImportError, AttributeError, ValueError) as error:
            raise ExtensionError(
                f"entry point {point.name!r} of {point.group} ({point.value}) cannot be loaded: "
                f"{_in_one_line(error)}; mend or uninstall the package that has it"
            ) from error


def announce(modules: Sequence[str]) -> None:
    """Name modules that this process, and all that it starts, import before they list entries.

    Modules of the working directory are found too.
    """
    if modules:
        os.environ[IMPORTS] = ",".join(modules)
        here = str(Path.cwd())
        sys.path.insert(0, here)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *([before] if before else [])])
        _import_modules.cache_clear()


def others_may_register() -> bool:
    """Return whether an installed package has an entry point, or ``--import`` named a module."""
    any_point = any(group.startswith(PREFIX) for group in _installed().groups)
    return any_point or bool(os.environ.get(IMPORTS))


def renamed(**calls: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that answers functions of earlier versions.

    Parameters
    ----------
    calls : str
        The call that replaces each, by the name of the earlier function.
    """

    def answer(name: str) -> Any:
        if name in calls:
            # An AttributeError would lose its text in `from module import name`.
            raise ImportError(f"{name} is gone: call {calls[name]}")
        raise AttributeError(f"no attribute {name!r}")

    return answer


@cache
def _import_modules() -> None:
    for module in filter(None, os.environ.get(IMPORTS, "").split(",")):
        try:
            pkgutil.resolve_name(module)
        except (ImportError, AttributeError, ValueError, SyntaxError) as error:
            raise ExtensionError(
                f"--import {module}: {_in_one_line(error)}; give the name of a module that can be "
                "imported from here, without .py"
            ) from error


@cache
def _installed() -> Any:  # Python 3.11 and 3.12 have different classes
    return metadata.entry_points()  # reads the metadata of every installed package


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
