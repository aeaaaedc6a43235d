"""Describe the classes of labelled data, and compare those of two machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

MOST_SHOWN = 5
LONGEST_NAME = 40
# Characters: a node's description may have 64 KiB; more names are not sent.
MOST_SENT = 2**15


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset's labels.

    Attributes
    ----------
    count : int
        Labels are in ``range(count)``.
    names : tuple of str
        Names in the order of the labels; empty if unknown. Names that are only numbers (``"0"``,
        ``"1"``, …) are dropped, as they repeat ``count``.
    """

    count: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = all(name == str(label) for label, name in enumerate(self.names))
        if len(self.names) == self.count and numbers:
            object.__setattr__(self, "names", ())

    @property
    def fingerprint(self) -> str:
        """A short text, equal for equal classes: the count and a hash of the names."""
        if not self.names:
            return str(self.count)
        return f"{self.count} {sha256(repr(self.names).encode()).hexdigest()[:16]}"

    def agree_with(self, fingerprint: str) -> bool:
        """Return whether labels mean the same as for the fingerprint's data.

        If only one side has names, only the counts are compared.
        """
        count, _, names = fingerprint.partition(" ")
        if names and self.names:
            return self.fingerprint == fingerprint
        return str(self.count) == count

    def texts(self) -> tuple[str, ...]:
        """Return the count and the names as texts for a message."""
        fits = sum(map(len, self.names)) <= MOST_SENT
        return (str(self.count), *(self.names if fits else ()))

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> Self:
        """Parse the result of :meth:`texts`.

        Raises
        ------
        ValueError
            The texts are not a count followed by as many names or none.
        """
        count, names = int(texts[0]), tuple(texts[1:])
        if len(names) not in (0, count):
            raise ValueError(f"{len(names)} names of {count} classes")
        return cls(count, names)

    def difference(self, theirs: "Classes") -> str:
        """Describe in one line how a node's classes differ from these, the run's."""
        missing = [name for name in self.names if name not in theirs.names]
        unknown = [name for name in theirs.names if name not in self.names]
        if self.count != theirs.count and not (self.names and theirs.names):
            return f"its data have {theirs.count} classes, the run has {self.count}"
        if not (self.names and theirs.names):
            return "its data have classes of other names than the run"
        if missing or unknown:
            lack = f"lack {_listed(missing)}" if missing else ""
            have = f"have {_listed(unknown)}, unknown to the run" if unknown else ""
            return f"its data {' and '.join(filter(None, (lack, have)))}"
        label = next(k for k, name in enumerate(self.names) if theirs.names[k] != name)
        return (
            f"label {label} is {_shown(theirs.names[label])} in its data and "
            f"{_shown(self.names[label])} in the run"
        )


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(_shown(name) for name in names[:MOST_SHOWN])
    return listed if len(names) <= MOST_SHOWN else f"{listed} and {len(names) - MOST_SHOWN} more"


def _shown(name: str) -> str:
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")
