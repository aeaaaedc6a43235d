"""Typed options: what a run configuration's keys are declared with, and how they are checked."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from .schedules import parse_schedule

Check = Callable[[Any], str | None]
"""From a value to what is wrong with it and what is valid; None when it is valid."""


def option(default: Any, check: Check | None = None, what: str = "") -> Any:
    """Declare a key of the run configuration as a field of a dataclass.

    ``align_interval`` is the key ``align-interval``.

    Parameters
    ----------
    default : bool, int, float or str
        Its type is the key's.
    check : callable, optional
        What is valid.
    what : str
        What the key means, in a few words of plain text.
    """
    return field(default=default, metadata={"check": check, "what": what})


@dataclass(frozen=True)
class Options:
    """Keys of the run configuration that belong to one algorithm; a subclass declares them."""

    def problem(self) -> str | None:
        """Return what several options together show to be wrong, in one line."""
        return None

    def idle(self) -> Mapping[str, str]:
        """Return the keys that change nothing, each with the key that makes it so."""
        return {}

    def idle_without_heads(self) -> Sequence[str]:
        """Return the keys that change nothing where clients have no auxiliary head."""
        return ()


def key_of(name: str) -> str:
    """Return the key of a field: ``align_interval`` is ``align-interval``."""
    return name.replace("_", "-")


def declared(owner: type) -> dict[str, Any]:
    """Return the declared fields of a class by key."""
    return {key_of(f.name): f for f in fields(owner) if "check" in f.metadata}


def check_options(name: str, options: type, others: Mapping[str, type]) -> None:
    """Refuse options that cannot be keys beside those that are registered already.

    Parameters
    ----------
    name : str
        What they are the options of.
    options : type
        A subclass of :class:`Options`.
    others : Mapping
        The options of each that is registered.

    Raises
    ------
    ValueError
        They are no dataclass, a default has no type that a key can have, or one of the others
        declares a key with another default.
    """
    if not is_dataclass(options) or "__dataclass_fields__" not in vars(options):
        raise ValueError(
            f"options of {name!r}: {options.__name__} is no dataclass; put "
            "@dataclass(frozen=True) on it"
        )
    for key, entry in declared(options).items():
        if type(entry.default) not in (bool, int, float, str):
            raise ValueError(
                f"key {key!r} has the default {entry.default!r}; a truth value, a number or a text "
                "is needed"
            )
        for other, theirs in others.items():
            known = declared(theirs).get(key)
            if known is not None and repr(known.default) != repr(entry.default):
                raise ValueError(
                    f"key {key!r} is an option of {other} with the default {known.default!r}; "
                    "choose another name, or the same default"
                )


def one_of(*valid: str) -> Check:
    """Accept these words."""

    def check(value: Any) -> str | None:
        if value in valid:
            return None
        close = get_close_matches(str(value), valid, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"valid are {', '.join(valid)}{hint}"

    return check


def at_least(low: float, *, above: bool = False, below: float = math.inf) -> Check:
    """Accept finite numbers from ``low`` on, or above it, up to ``below``."""

    def check(value: Any) -> str | None:
        if (value > low if above else value >= low) and value <= below and value < math.inf:
            return None
        finite = " and finite" if value == math.inf else ""
        upper = finite if below == math.inf else f" and at most {below:g}"
        return f"it must be {'above' if above else 'at least'} {low:g}{upper}"

    return check


def registered(registry: Mapping[str, Any]) -> Check:
    """Accept what is registered when it is asked for: more may have been added since."""
    return lambda value: one_of(*registry)(value)


def schedule(value: Any) -> str | None:
    """Accept a learning-rate schedule."""
    try:
        parse_schedule(str(value), rounds=2**31)
    except ValueError as error:
        return str(error)
    return None
