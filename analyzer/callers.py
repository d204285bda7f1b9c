# SPDX-License-Identifier: Apache-2.0
"""Who asked for the memory: the caller in a recorded kernel stack.

The caller of an occurrence is the frame that called the page allocator's own
interface (mm/page_alloc.c, mm/mempolicy.c, mm/filemap.c and the clearing helpers)
at the place nearest to the occurrence: the function that wanted pages, such as
``do_anonymous_page``.  Frames below that interface (the probe's own, reclaim,
acceptance) are passed over; a stack without it has its last frame as its caller.
Inlined functions have no frame of their own, so on two builds the same request
may come under two names.  Occurrences without a stack (aggregates, or a stack
that could not be taken) have no caller: unknown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_INTERFACE = re.compile(
    r"""
    (__)?alloc_pages?(_\S+)? | (__)?alloc_frozen_pages?(_\S+)? | (__)?get_free_pages?(_\S+)?
    | get_zeroed_page(_\S+)? | get_page_from_freelist | prep_new_page | post_alloc_hook
    | (__)?folio_alloc(_\S+)? | vma_alloc_folio(_\S+)? | vma_alloc_zeroed_movable_folio
    | filemap_alloc_folio(_\S+)? | (__)?page_cache_alloc(_\S+)? | __page_frag_cache_\S+
    | (vma_)?alloc_anon_folio(_\S+)? | kernel_init_pages | folio_zero_user
    | clear_(huge_|high|user_)?pages?(_\S+)? | __clear_pages_unrolled
    """,
    re.VERBOSE,
)
WRITTEN_OUT = 5
"""Stacks that a page has in full."""
_SUFFIX = re.compile(r"\.(part|isra|constprop|cold|llvm)(\.\d+)*")


def caller_of(stack: str) -> str:
    """The caller's name in a stack (root first, frames joined by ';'), "" for an empty one."""
    frames = [_SUFFIX.sub("", frame.split("+")[0]) for frame in reversed(stack.split(";"))]
    inside = [_INTERFACE.fullmatch(frame) is not None for frame in frames]
    if True not in inside:
        return frames[0]
    outside = (frame for frame, is_ in zip(frames, inside, strict=True) if not is_)
    below = inside.index(True)
    return next(itertools.islice(outside, below, None), frames[-1])


@dataclass(frozen=True)
class Stacks:
    """The distinct stacks of a run, by number, and their callers, by number too."""

    stack: list[str]
    caller: list[str]


def numbered(
    rows: duckdb.DuckDBPyRelation, connection: duckdb.DuckDBPyConnection
) -> tuple[duckdb.DuckDBPyRelation, Stacks]:
    """The rows with ``stack_number`` and ``caller_number``; their stacks are read once more for it.

    Numbers group faster than long texts, and in less memory.
    """
    import pyarrow as pa

    distinct = query(rows, "SELECT DISTINCT stack FROM rows_ WHERE stack IS NOT NULL").fetchall()
    stacks = [str(stack) for (stack,) in distinct]
    callers = {name: number for number, name in enumerate(dict.fromkeys(map(caller_of, stacks)))}
    columns = {
        "stack": pa.array(stacks, pa.string()),
        "stack_number": pa.array(range(len(stacks)), pa.int32()),
        "caller_number": pa.array([callers[caller_of(stack)] for stack in stacks], pa.int32()),
    }
    connection.register("stacks", pa.table(columns))
    joined = "SELECT rows_.*, stack_number, caller_number FROM rows_ LEFT JOIN stacks USING (stack)"
    return query(rows, joined), Stacks(stacks, list(callers))


def written_out(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The notes below a table that has the ``stack`` of these rows under their ``rank``."""
    lines = [
        f"- {row['rank']}: {' < '.join(reversed(row['stack'].split(';')))}" for row in rows if row["stack"]
    ]
    return ["innermost frame first:", *lines] if lines else []


def query(rows: duckdb.DuckDBPyRelation, sql: str) -> duckdb.DuckDBPyRelation:
    """A SELECT over the relation, by the name ``rows_``."""
    result = rows.query("rows_", sql)
    assert result is not None
    return result
