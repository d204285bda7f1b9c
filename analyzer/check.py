# SPDX-License-Identifier: Apache-2.0
"""Whether a run file is in order: every row passes the gate, and its sums are those of its rows.

A run carries partial aggregates (traces/partials.py), from which reports are made without its
rows.  Here they are made anew, and each entry is held against the file's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.keys import KEYS
from memtrace.analyzer.partials import Partials, of_kept
from memtrace.analyzer.scan import connect, scanned

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

_BY = tuple(KEYS[word] for word in ("event", "order", "node", "parent"))
_SUMS = ("rows", "count", "bytes", "total_ns", "self_ns", "sum_pfn")
_SHOWN = 5


@dataclass(frozen=True)
class Checked:
    """What was found of a run."""

    rows: int
    entries: int | None
    """Of its partial aggregates; None where it carries none."""
    differ: tuple[str, ...] = ()
    """A sentence for each of the first entries that are not what the rows say."""
    different: int = 0
    """How many these are in all."""


def check(run: Run) -> Checked:
    """Reads all of a run; raises MemtraceError where a row is not what it must be."""
    with connect(run) as connection:
        run.relation(connection)
        if run.partials is None:
            return Checked(run.rows, None)
        found = _sums(scanned(run, _BY, connection, with_pfn=True))
    columns = {key.output: key.column for key in _BY}
    kept = _sums(of_kept(run.partials, columns, with_pfn=True, with_durations=True))
    different = [key for key in {**kept, **found} if kept.get(key) != found.get(key)]
    sentences = (_sentence(key, kept.get(key), found.get(key)) for key in sorted(different, key=str))
    return Checked(run.rows, len(kept), tuple(sentences)[:_SHOWN], len(different))


Entry = tuple[Any, ...]


def _sums(parts: Partials) -> dict[Entry, tuple[int, ...]]:
    """Sums and the longest duration, by keys, flags, what is unknown, and bucket."""
    keys = zip(*parts.keys.values(), parts.flags, parts.unknown, parts.bucket, strict=True)
    columns = [getattr(parts, name) for name in _SUMS]
    sums: dict[Entry, list[int]] = defaultdict(lambda: [0] * (len(_SUMS) + 1))
    for key, longest, *values in zip(keys, parts.max_ns, *columns, strict=True):
        entry = sums[tuple(None if part is None else _plain(part) for part in key)]
        for at, value in enumerate(values):
            entry[at] += int(value)
        entry[-1] = max(entry[-1], int(longest))
    return {key: tuple(entry) for key, entry in sums.items()}


def _plain(part: Any) -> Any:
    return part if isinstance(part, str) else int(part)


def _sentence(key: Entry, kept: tuple[int, ...] | None, found: tuple[int, ...] | None) -> str:
    event, order, nid, parent, flags, _, _ = key
    words = (("order", order), ("node", nid), ("inside", parent), ("flags", flags))
    where = " ".join([event, *(f"{name} {value}" for name, value in words if value is not None)])
    return f"{where}: {', '.join(_differences(kept, found))}"


def _differences(kept: tuple[int, ...] | None, found: tuple[int, ...] | None) -> Iterator[str]:
    if kept is None or found is None:
        yield "only in the rows" if kept is None else "in no row"
        return
    for name, old, new in zip((*_SUMS, "max_ns"), kept, found, strict=True):
        if old != new:
            yield f"{name} {old} carried, {new} in the rows"
