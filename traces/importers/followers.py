# SPDX-License-Identifier: Apache-2.0
"""Ends that the function tracer shows by what is called next.

It prints entries alone.  But where a caller calls one function straight after
another, the second entry is the end of the first: __accept_page() and
__free_pages_core() call accept_memory() and then, with nothing between,
__free_pages_ok() (mm/page_alloc.c).  From other callers nothing says when it
ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from memtrace.traces.importers.parsed import ENTRY, POINT, RETURN, Stamp

FOLLOWED: dict[str, tuple[str, frozenset[str]]] = {
    "accept_memory": (
        "__free_pages_ok",
        frozenset(
            (
                "__accept_page",
                "__free_pages_core",
                "accept_page",
                "try_to_accept_memory_one",
                "try_to_accept_memory",
                "cond_accept_memory",
                "get_page_from_freelist",
            )
        ),
    )
}
"""Function, the one that is called straight after it, and the callers that do so (or hold an inlined one)."""
CALLER = "caller="
"""The word of a Stamp's args that names the caller, where the tracer prints it."""


def with_ends(stamps: Sequence[Stamp]) -> list[Stamp]:
    """The stamps, with a RETURN where the next function of the task shows the end.

    A function that returns somewhere in the file needs no such help, and gets none.
    """
    returning = {s.what for s in stamps if s.kind == RETURN}
    found: list[Stamp] = []
    last: dict[tuple[int | None, int | None], Stamp] = {}
    for stamp in map(_alone, stamps) if not returning & FOLLOWED.keys() else stamps:
        # CPU 0's idle task is not CPU 1's.
        task = (stamp.tid, None if stamp.tid else stamp.cpu)
        before = last.get(task)
        if before is not None and before.what not in returning and _ends(before, stamp):
            found.append(before._replace(ts_ns=stamp.ts_ns, kind=RETURN, args="", cpu=stamp.cpu))
        found.append(stamp)
        last[task] = stamp
    return found


def _alone(stamp: Stamp) -> Stamp:
    """An entry from a caller after which nothing shows the end is a point in time."""
    if stamp.kind != ENTRY or stamp.what not in FOLLOWED or _caller(stamp) in FOLLOWED[stamp.what][1]:
        return stamp
    return stamp._replace(kind=POINT)


def _caller(stamp: Stamp) -> str:
    return stamp.args.partition(CALLER)[2].partition(" ")[0].partition(".")[0]


def _ends(before: Stamp, stamp: Stamp) -> bool:
    if before.kind != ENTRY or before.what not in FOLLOWED or stamp.kind != ENTRY:
        return False
    follower, callers = FOLLOWED[before.what]
    return stamp.what == follower and _caller(before) in callers
