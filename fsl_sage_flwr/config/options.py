"""Settings of one owner: the run, an algorithm, or a kind of task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from .setting import KINDS, Setting, SettingError


@dataclass(frozen=True)
class Options:
    """Settings of one algorithm, kind of task or group; a subclass declares them as fields."""

    def problem(self) -> str | None:
        """Return the problem with several settings together, in one line, or None."""
        return None

    def problem_with_rounds(self, rounds: int) -> str | None:
        """Return the problem with the number of the run's rounds, in one line, or None."""
        return None

    def unused(self) -> Mapping[str, str]:
        """Return the keys without effect, each with the key that is the reason."""
        return {}

    def unused_without_heads(self) -> Sequence[str]:
        """Return the keys without effect where clients have no auxiliary head."""
        return ()


OptionsT = TypeVar("OptionsT", bound=Options)


def key_of(name: str) -> str:
    """Return the kebab-case form of a name: ``batch_size`` is ``batch-size``."""
    return name.replace("_", "-")


_KNOWN: dict[type, Mapping[str, Setting]] = {}


def settings_of(owner: type) -> Mapping[str, Setting]:
    """Return the settings that a dataclass declares, by key.

    A class that declares the settings of one of several alike things has a ``PREFIX`` for their
    keys and a ``SUFFIX`` for their documentation.
    """
    if owner not in _KNOWN:
        _KNOWN[owner] = _read_declarations(owner)
    return _KNOWN[owner]


def _read_declarations(owner: type) -> Mapping[str, Setting]:
    prefix, suffix = getattr(owner, "PREFIX", ""), getattr(owner, "SUFFIX", "")
    found = {}
    for entry in fields(owner):
        declared: Setting | None = entry.metadata.get("setting")
        if declared is None:
            continue
        group, key = entry.metadata["group"], declared.key
        if group:
            key = f"{group}.{key_of(entry.name.removeprefix(f'{group}_'))}"
        key = prefix + (key or key_of(entry.name))
        doc = declared.doc + suffix
        found[key] = replace(declared, name=entry.name, key=key, doc=doc)
    return found


def read_options(owner: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Return the options of a class from a run configuration, unchecked; ignore other keys."""
    found = {entry.name: values[key] for key, entry in settings_of(owner).items() if key in values}
    return owner(**found)


def values_of(options: Options) -> dict[str, Any]:
    """Return the values of options by key."""
    return {key: getattr(options, entry.name) for key, entry in settings_of(type(options)).items()}


def arguments_of(options: Options, *owners: type[Options]) -> dict[str, Any]:
    """Return the values of the settings that classes declare, by the names of the arguments.

    An algorithm's factory gives them to the constructor, so that only the declaration and the
    constructor name a setting.

    Parameters
    ----------
    options : Options
        Has the fields of all the classes.
    *owners : type
        Classes whose settings are arguments of the constructor.
    """
    names = (entry.name for owner in owners for entry in settings_of(owner).values())
    return {name: getattr(options, name) for name in names}


def check_options(name: str, options: type, others: Mapping[str, type]) -> None:
    """Refuse options that cannot be keys beside the registered ones.

    Parameters
    ----------
    name : str
        The algorithm or the kind of task.
    options : type
        A subclass of :class:`Options`.
    others : Mapping
        The options of each registered one.

    Raises
    ------
    ValueError
        The class is no dataclass, a default has no type of the run configuration, or another
        class declares a key with another default.
    """
    if not is_dataclass(options) or "__dataclass_fields__" not in vars(options):
        raise ValueError(
            f"options of {name!r}: {options.__name__} is no dataclass; put "
            "@dataclass(frozen=True) on it"
        )
    for key, entry in settings_of(options).items():
        if entry.kind not in KINDS:
            raise ValueError(
                f"key {key!r} has the default {entry.default!r}; true or false, a number or a text "
                "is needed"
            )
        for other, theirs in others.items():
            known = settings_of(theirs).get(key)
            if known is not None and repr(known.default) != repr(entry.default):
                raise ValueError(
                    f"key {key!r} is an option of {other} with the default {known.default!r}; "
                    "choose another name, or the same default"
                )


def check_arguments(options: type[Options], **arguments: Any) -> None:
    """Refuse arguments that the declarations of the same names do not allow.

    Parameters
    ----------
    options : type
        A dataclass with the declarations.
    **arguments
        Values by name, ``align_interval=2``.

    Raises
    ------
    SettingError
        Names the first such argument, its value and what is valid.
    """
    by_name = {entry.name: entry for entry in settings_of(options).values()}
    for name, value in arguments.items():
        declared = replace(by_name[name], key=name)
        problem = declared.problem(declared.converted(value))
        if problem:
            raise SettingError(f"{name} = {value!r}: {problem}")
