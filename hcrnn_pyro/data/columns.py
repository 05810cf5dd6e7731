"""Which columns of a log mean what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hcrnn_pyro.errors import require

DESCRIPTIONS = {"Title": "title", "Categories": "categories"}  # columns on an item: their names in an items frame


@dataclass(frozen=True)
class Columns:
    """Names of a log's columns; ``time`` is ``None`` where the order of the rows is the order of the events."""

    session: str = "SessionId"
    item: str = "ItemId"
    time: str | None = "Time"

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read ``session,item,time`` or ``session,item``."""
        names = [name.strip() for name in text.split(",")]
        expected = f"Expected two or three different column names, session,item[,time]; got {text!r}."
        require(2 <= len(names) <= 3 and all(names) and len(set(names)) == len(names), expected)
        return cls(names[0], names[1], names[2] if len(names) == 3 else None)

    @property
    def required(self) -> tuple[str, ...]:
        """The names, without a missing time."""
        return tuple(name for name in (self.session, self.item, self.time) if name is not None)


def check_columns(found: Sequence[str], columns: Columns, origin: str) -> None:
    """Refuse a table that lacks a column or has one twice.

    Args:
        found: the names of its columns.
        columns: those that are needed.
        origin: what the table is, for the message.
    """
    names = ", ".join(str(name) for name in found)
    missing = [name for name in columns.required if name not in found]
    hint = "Name yours with --columns session,item,time, or session,item where the rows are in order."
    require(not missing, f"No column {', '.join(missing)} in {origin}; it has {names}. {hint}")
    twice = [name for name, count in Counter(found).items() if count > 1 and name in columns.required]
    require(not twice, f"Column {', '.join(twice)} occurs more than once in {origin}; it has {names}.")
