# SPDX-License-Identifier: Apache-2.0
"""The kernel's counters in the run's snapshots, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.model.plain import put

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.run import Snapshot

_COLUMNS = (
    ("label", "string"),
    ("at_ns", "int64"),
    ("took_ns", "int64"),
    ("nid", "int64"),
    ("counter", "string"),
    ("value", "int64"),
)


def readings(model: Model) -> None:
    """``readings``: one row for each counter in each snapshot, in the order of the file.

    ``place``: of its snapshot in the file; ``nid``: null for the machine's.
    """
    rows = [(i, *row) for i, snapshot in enumerate(model.run.snapshots) for row in _values(snapshot)]
    columns = (("place", "int64"), *_COLUMNS)
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    put(
        model.connection,
        "readings",
        {name: (list(column), kind) for (name, kind), column in zip(columns, values, strict=True)},
    )


def _values(snapshot: Snapshot) -> Iterator[tuple[Any, ...]]:
    taken = (snapshot.label, snapshot.boottime_ns, snapshot.took_ns)
    for counter, value in snapshot.vmstat.items():
        yield *taken, None, counter, value
    for nid, counters in snapshot.nodes.items():
        for counter, value in counters.items():
            yield *taken, int(nid), counter, value
