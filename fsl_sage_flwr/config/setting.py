"""The declaration of one setting: default, bounds, unit, documentation, run-config key."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Value = bool | int | float | str
Check = Callable[[Any], str | None]
"""Maps a value to what is valid instead, or to None if the value is valid."""

Scope = Literal["experiment", "course", "execution"]
"""What a setting defines: the experiment; the course of a run, which may change when it resumes; or
only where and how a run is executed, which may differ between runs of one experiment."""

# Flower sends integers with 64 bits.
LARGEST_INTEGER = 2**63 - 1
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
# What pydantic calls a value of another type; every other error is a bound.
WRONG_TYPE = {"bool_type", "int_type", "float_type", "string_type"}
NOT_UTF_8 = (
    "it has bytes that are not UTF-8, which Flower cannot send; rename the file or directory"
)


class SettingError(ValueError):
    """A value is not valid; one line names the setting, the value and what is valid."""


@dataclass(frozen=True)
class Setting:
    """Declaration of a setting.

    Attributes
    ----------
    default : bool, int, float or str
        Its type is the setting's type.
    doc : str
        Meaning in a few words of plain text, for a table.
    unit : str
        Unit of the value, "seconds" for example; empty for a pure number or a text.
    name : str
        Name of the argument, ``align_interval``.
    key : str
        Key of the run configuration, ``align.interval``; the part before the dot is its group.
    ge, gt, le : float or None
        Bounds: at least, above, at most. A bounded number must be finite.
    choices : collection of str
        The valid texts. A registry is asked when a value is checked.
    check : callable, optional
        Checks that bounds and choices cannot express.
    formerly : tuple of str
        Names of the key in earlier versions; they are refused with the new name.
    renamed_values : Mapping
        Values of earlier versions with their new names.
    scope : {"experiment", "course", "execution"}
        What the setting defines. A run resumes with other values of "course" and "execution"; runs
        that differ in "execution" alone are the same experiment.
    """

    default: Value
    doc: str
    unit: str = ""
    name: str = ""
    key: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    choices: Collection[str] | None = None
    check: Check | None = None
    formerly: tuple[str, ...] = ()
    renamed_values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    scope: Scope = "experiment"

    @property
    def kind(self) -> type:
        """Type of the value."""
        return type(self.default)

    @property
    def group(self) -> str:
        """Group of the key; empty for a core key."""
        return self.key.rpartition(".")[0]

    @property
    def bounds(self) -> str:
        """Return the bounds in words; empty if there are none."""
        low = (
            f"above {self.gt:g}"
            if self.gt is not None
            else ""
            if self.ge is None
            else f"at least {self.ge:g}"
        )
        high = "" if self.le is None else f"at most {self.le:g}"
        return " and ".join(filter(None, (low, high)))

    def converted(self, value: Any) -> Value:
        """Return a value as the setting's type; a whole number is accepted as a float.

        Raises
        ------
        SettingError
            The value has another type, or is out of bounds.
        """
        from pydantic import ValidationError

        if type(value) is int and abs(value) > LARGEST_INTEGER:
            raise SettingError(f"{self.key} = {value}: it must be at most 2**63 - 1")
        try:
            found: Value = _adapter(self.kind, self.ge, self.gt, self.le).validate_python(value)
        except ValidationError as error:
            kind = error.errors()[0]["type"]
            raise SettingError(f"{self.key} = {value!r}: {self._explained(kind, value)}") from None
        if isinstance(found, str) and not _is_unicode(found):
            raise SettingError(f"{self.key} = {value!r}: {NOT_UTF_8}")
        return found

    def _explained(self, kind: str, value: Any) -> str:
        if kind in WRONG_TYPE:
            return f"{KINDS[self.kind]} is needed"
        finite = " and finite" if value == math.inf and self.le is None else ""
        return f"it must be {self.bounds}{finite}"

    def problem(self, value: Any, check: Check | None = None) -> str | None:
        """Return the problem with a value of the setting's type; None if it is valid.

        Parameters
        ----------
        value
            The value.
        check : callable, optional
            Checks the value in place of ``choices`` and ``check``: a kind of task decides which
            models are valid.
        """
        if check is not None:
            return check(value)
        if value in self.renamed_values:
            return f"it is now called {self.renamed_values[value]!r}; give that"
        if self.choices is not None:
            return one_of(self.choices)(value)
        return self.check(value) if self.check else None


def one_of(valid: Collection[str]) -> Check:
    """Return a check that accepts the texts of a collection as it is when a value is checked."""

    def check(value: Any) -> str | None:
        if value in valid:
            return None
        close = get_close_matches(str(value), valid, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"valid are {', '.join(filter(None, valid))}{hint}"

    return check


def setting(
    default: Value,
    doc: str,
    *,
    key: str = "",
    group: str = "",
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    choices: Collection[str] | None = None,
    check: Check | None = None,
    formerly: tuple[str, ...] = (),
    renamed_values: Mapping[str, str] = MappingProxyType({}),
    scope: Scope = "experiment",
) -> Any:
    """Declare a setting as a field of a dataclass; :class:`Setting` explains the arguments.

    The key is the field's name in kebab-case unless ``key`` gives another one. In a ``group`` it is
    the rest of the name behind the group's, ``align.interval`` of ``align_interval``. The class
    attribute is the default, so a constructor takes it from there:
    ``interval: int = Mine.interval``.
    """
    declared = Setting(
        default,
        doc,
        unit,
        key=key,
        ge=ge,
        gt=gt,
        le=le,
        choices=choices,
        check=check,
        formerly=formerly,
        renamed_values=renamed_values,
        scope=scope,
    )
    return field(default=default, metadata={"setting": declared, "group": group})


def _is_unicode(text: str) -> bool:
    """Return whether a text can be sent: the undecodable bytes of a path cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _adapter(
    kind: type, ge: float | None, gt: float | None, le: float | None
) -> "TypeAdapter[Any]":
    # pydantic takes 0.2 s to import: help and answers to a wrong word need none of it.
    from .adapters import adapter

    return adapter(kind, ge, gt, le)
