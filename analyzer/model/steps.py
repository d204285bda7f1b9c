# SPDX-License-Identifier: Apache-2.0
"""What the tables need that SQL cannot make: what lies in what, and the facts of the run.

A step makes one table, of plain columns, from others or from the run's header and status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.model.origin import origin
from memtrace.analyzer.nesting import nest

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

    from memtrace.analyzer.model.staged import Model

Step = Callable[["Model"], None]


def facts(model: Model) -> None:
    """``run``: one row of what the header and the status say of the whole run."""
    run = model.run
    put(
        model.connection,
        "run",
        {
            "page_size": ([run.header.page_size], "int64"),
            "started_ns": ([run.status.started_ns], "int64"),
            "ended_ns": ([run.status.ended_ns], "int64"),
        },
    )


def traced(model: Model) -> None:
    """``traced``: events whose occurrences are in the run with a time, if there were any."""
    sites = {site.event for site in model.run.header.manifest if site.site and site.time != "unknown"}
    put(model.connection, "traced", {"event": (sorted(sites & set(model.run.header.events)), "string")})


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


def put(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Mapping[str, tuple[Sequence[Any] | npt.NDArray[Any], str]],
) -> None:
    """Make a table of columns, each values and their Arrow type."""
    import pyarrow as pa

    arrays = {key: pa.array(values, type_) for key, (values, type_) in columns.items()}
    connection.register(f"{name}_", pa.table(arrays))
    connection.table(f"{name}_").create(name)
    connection.unregister(f"{name}_")


STEPS: Mapping[str, Step] = {
    "run": facts,
    "traced": traced,
    "hot_nesting": hot_nesting,
    "hot_origins": hot_origins,
}
"""Each table that a step makes."""
