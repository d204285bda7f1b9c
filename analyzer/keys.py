# SPDX-License-Identifier: Apache-2.0
"""What rows can be grouped by: the words of ``--by``, and what each is in the file.

In-kernel aggregates carry no cpu, pid, tid, comm, cgroup, gfp, pfn nor stack: grouped by
one of these, their occurrences come out as unknown, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.facts import init_on
from memtrace.analyzer.tables import Row
from memtrace.errors import MemtraceError
from memtrace.traces.derived import tells_zeroing
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.traces.run import RunHeader


@dataclass(frozen=True)
class Key:
    """One thing to group by."""

    word: str
    """What the user writes."""
    column: str
    """The column of the file it is taken from, and its name in tables."""
    number: bool = False
    aggregated: bool = True
    """Whether in-kernel aggregates have it."""
    sql: str | None = None
    """How it is taken from the column, where that is not the column itself."""
    name: str | None = None
    """Its name in tables, where that is not the column's."""

    @property
    def expression(self) -> str:
        return self.sql or f'"{self.column}"'

    @property
    def output(self) -> str:
        return self.name or self.column


KEYS: dict[str, Key] = {
    key.word: key
    for key in (
        Key("event", "event"),
        Key("order", "order", number=True),
        Key("node", "nid", number=True),
        Key("requested", "nid_requested", number=True),
        Key("site", "site"),
        Key("parent", "parent"),
        Key("zeroed", "flags", sql=f"((flags & {int(Flag.ZEROED)}) <> 0)", name="zeroed"),
        Key("flags", "flags"),
        Key("comm", "comm", aggregated=False),
        Key("pid", "pid", number=True, aggregated=False),
        Key("tid", "tid", number=True, aggregated=False),
        Key("cgroup", "cgroup", aggregated=False),
        Key("cpu", "cpu", number=True, aggregated=False),
        Key("gfp", "gfp", aggregated=False),
        Key("caller", "stack", aggregated=False, sql="caller_number", name="caller"),
        Key("stack", "stack", aggregated=False, sql="stack_number"),
    )
}

DEFAULT: tuple[Key, ...] = (KEYS["event"], KEYS["order"], KEYS["node"])


def parse_keys(text: str | None) -> tuple[Key, ...]:
    """The keys that ``--by`` names, separated by commas; the default ones for None.

    The event is always the first: times of events nested in each other must not
    be added.  Raises MemtraceError (exit 2) for a word that is none.
    """
    if text is None:
        return DEFAULT
    words = [word.strip().lower() for word in text.split(",")]
    for word in words:
        if word not in KEYS:
            raise MemtraceError(f"--by knows no {word!r}; it takes any of {', '.join(KEYS)}", 2)
    return tuple(KEYS[word] for word in dict.fromkeys(["event", *words]))


def readable(rows: Iterable[Row], header: RunHeader) -> list[Row]:
    """The rows with flags and gfp bits as names, ``zeroed`` as yes or no, and no parent as "none".

    Where the run does not tell what the allocator zeroes, ``zeroed`` is None rather than no.
    """
    told = tells_zeroing(*init_on(header))
    words: dict[str, Callable[[Any], Any]] = {
        "flags": flag_names,
        "zeroed": lambda value: "yes" if value else "no" if told else None,
        "gfp": lambda bits: None if bits is None else gfp_text(bits, header),
        "parent": lambda name: name or "none",
    }
    return [{name: words.get(name, _same)(value) for name, value in row.items()} for row in rows]


def _same(value: Any) -> Any:
    return value


def flag_names(bits: int) -> str:
    """``zeroed|inferred`` for the bits of a ``flags`` value, ``none`` for 0."""
    names = [flag.name.lower() for flag in Flag if bits & flag and flag.name]
    rest = bits & ~sum(Flag)
    return "|".join(names + ([hex(rest)] if rest else [])) or "none"


def gfp_text(bits: int, header: RunHeader) -> str:
    """gfp flags by the names that the recorded kernel gives them; hexadecimal where it gave none.

    Composite masks that are set as a whole (GFP_KERNEL, …) come before single bits.
    """
    names: list[str] = []
    rest = bits
    by_size = sorted(header.gfp_names.items(), key=lambda pair: (-pair[1].bit_count(), pair[0]))
    for name, mask in by_size:
        if mask and rest & mask == mask:
            names.append(name)
            rest &= ~mask
    return "|".join(names + ([hex(rest)] if rest else [])) or "0"


def without_aggregates(keys: Sequence[Key]) -> tuple[str, ...]:
    """Words of the keys that in-kernel aggregates do not have."""
    return tuple(key.word for key in keys if not key.aggregated)
