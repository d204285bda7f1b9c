# SPDX-License-Identifier: Apache-2.0
"""What lies in what of hotplug, and who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.model.origin import origin
from memtrace.analyzer.model.plain import put
from memtrace.analyzer.nesting import nest

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def hot_nesting(model: Model) -> None:
    """``hot_nesting``: of each of hot_rows, which one lies directly around it, and its length.

    ``parent``: its id, null for none; ``length_ns``: nesting.py's.
    """
    import numpy as np

    model.need("hot_rows")
    # Of two equal intervals nest() takes the later one for the container: outermost last.
    statement = "SELECT id, begin_ns, end_ns, thread + 1 AS context FROM hot_rows ORDER BY id DESC"
    found = model.connection.execute(statement).fetchnumpy()
    ids, begin, end, context = (np.asarray(found[name], dtype=np.int64) for name in found)
    nesting = nest(begin, end, context)
    around = np.append(ids, -1)[nesting.parent]
    parents = np.ma.masked_array(around, mask=nesting.parent < 0)
    put(
        model.connection,
        "hot_nesting",
        {"id": (ids, "int64"), "parent": (parents, "int64"), "length_ns": (nesting.length, "int64")},
    )


def hot_origins(model: Model) -> None:
    """``hot_origins``: the driver that asked for each of hot_requests."""
    model.need("hot_requests")
    found = model.connection.execute("SELECT add, stack FROM hot_requests ORDER BY add").fetchall()
    columns = {
        "add": ([add for add, _ in found], "int32"),
        "origin": ([origin(stack) for _, stack in found], "string"),
    }
    put(model.connection, "hot_origins", columns)
