# SPDX-License-Identifier: Apache-2.0
"""A site that stays silent is said to be where its witness moves, and only there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memtrace.analyzer.views import view
from memtrace.tests.analyzer.recorded import SECOND, START, Case, Row, header, status, streamed
from memtrace.traces.reader import Run
from memtrace.traces.run import Fact, ProbeSite, Snapshot, VirtualMachine
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses

RunOf = Callable[[Case | str], Run]
GIB_KB = 1 << 20
MIB_KB = 1 << 10
ACCEPTS = ("accept.block", "accept.call")
GMEM = ("gmem.get", "gmem.zero", "gmem.prepare", "gmem.populate")
HOT = ("hot.add", "hot.online")


def taken(label: str, at: int, nodes: dict[str, dict[str, int]], **vmstat: int) -> Snapshot:
    return Snapshot(label, at, {"nr_free_pages": 1, **vmstat}, nodes)


def case(
    rows: Sequence[Row],
    *events: str,
    before: dict[str, int] | None = None,
    after: dict[str, int] | None = None,
    balloon: tuple[int, int] = (0, 0),
    **fields: Any,
) -> Case:
    """A run whose node 0 had these counters, in kB, at its start and end."""
    losses = fields.pop("losses", Losses(no_room=0))
    vms = fields.pop("vms", ())
    start = taken("start", START, {"0": before or {}}, nr_balloon_pages=balloon[0])
    end = taken("end", START + 2 * SECOND, {"0": after or {}}, nr_balloon_pages=balloon[1])
    facts = (Fact("init_on_alloc", "no"), Fact("init_on_free", fields.pop("on_free", "no")))
    made = header(*events, snapshots=(start,), facts=facts, stream_all=True)
    return Case(
        rows,
        dataclasses.replace(made, **fields),
        status(snapshots=(end,), losses=losses, vms=vms),
    )


def said(run_of: RunOf, made: Case) -> str | None:
    """The text of the caveat in the summary, None if there is none."""
    found = [c.text for c in view(run_of(made)).report.caveats if c.id == "site-silent"]
    assert len(found) < 2
    return found[0] if found else None


def accepting(rows: Sequence[Row], fell_kb: int, *events: str, **fields: Any) -> Case:
    before = {"MemTotal": 2 * GIB_KB, "Unaccepted": GIB_KB}
    after = {"MemTotal": 2 * GIB_KB - fields.pop("left_kb", 0), "Unaccepted": GIB_KB - fell_kb}
    return case(rows, *(events or ACCEPTS), before=before, after=after, **fields)


def test_memory_was_accepted_and_no_site_saw_it(run_of: RunOf) -> None:
    text = said(run_of, accepting((), 512 * MIB_KB))
    assert text is not None and "nr_unaccepted fell by 512Mi" in text
    assert "accept.block (fentry:accept.block) was seen not once" in text and "accept.call" in text


def test_one_site_may_be_silent_beside_another(run_of: RunOf) -> None:
    seen = [streamed("accept.block", 10, 1000, ts_ns=START + i) for i in range(128)]
    text = said(run_of, accepting(seen, 512 * MIB_KB))
    assert text is not None and "accept.call (" in text and "accept.block" not in text


def test_a_site_in_a_cold_caller_only_is_as_good_as_silent(run_of: RunOf) -> None:
    few = [streamed("accept.block", 10, 1000, ts_ns=START + i) for i in range(3)]
    text = said(run_of, accepting(few, 512 * MIB_KB, "accept.block"))
    assert text is not None and "was seen 3 times" in text


@pytest.mark.parametrize(
    "made",
    [
        accepting((), 0),
        accepting((), 12 * MIB_KB),
        accepting((), 512 * MIB_KB, left_kb=512 * MIB_KB),
        accepting((), 512 * MIB_KB, filters={"command_only": "yes"}),
        accepting((), 512 * MIB_KB, losses=Losses(kretprobe_missed=100, no_room=0)),
        accepting((), 512 * MIB_KB, "alloc"),
        accepting((), 512 * MIB_KB, events=("alloc",)),
        accepting((), 512 * MIB_KB, manifest=tuple(ProbeSite(event, None) for event in ACCEPTS)),
    ],
    ids=["nothing", "edge", "removed", "filtered", "lost", "other", "not-asked", "no-site"],
)
def test_no_alarm_where_acceptance_need_not_have_been_seen(run_of: RunOf, made: Case) -> None:
    assert said(run_of, made) is None


def growing(rows: Sequence[Row], **fields: Any) -> Case:
    before, after = {"MemTotal": 2 * GIB_KB}, {"MemTotal": 2 * GIB_KB + 512 * MIB_KB}
    return case(rows, *HOT, before=before, after=after, **fields)


def online(pfn: int) -> Row:
    return streamed("hot.online", None, 1000, pfn=pfn, bytes=512 << 20)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ((online(1 << 21),), "MemTotal grew by 512Mi, but hot.add (fentry:hot.add) was seen not once"),
        ((), "MemTotal grew by 512Mi, unless that had been added before"),
        ((online(0),), None),
        ((online(1 << 21), streamed("hot.add", None, 1000, pfn=1 << 21, bytes=512 << 20)), None),
    ],
    ids=["new", "nothing-online", "there-before", "seen"],
)
def test_memory_was_added(run_of: RunOf, rows: Sequence[Row], text: str | None) -> None:
    found = said(run_of, growing(rows))
    assert (found is None) if text is None else (found is not None and text in found)


def test_a_balloon_moves_memtotal_as_well(run_of: RunOf) -> None:
    assert said(run_of, growing((), balloon=(1 << 17, 0))) is None


def zeroing(clears: int, **fields: Any) -> Case:
    rows = [streamed("alloc", 0, 300, ts_ns=START + i, flags=int(Flag.ZEROED)) for i in range(500)]
    rows += [streamed("zero.alloc", 0, 100, parent="alloc", flags=1) for _ in range(clears)]
    return case(rows, "alloc", "zero.alloc", **fields)


def test_the_allocator_must_have_cleared(run_of: RunOf) -> None:
    text = said(run_of, zeroing(0))
    assert text is not None and "500 allocations had to be zeroed, but zero.alloc" in text
    assert said(run_of, zeroing(500)) is None
    assert said(run_of, zeroing(0, on_free="yes")) is None
    assert said(run_of, zeroing(0, on_free="unknown")) is None
    inferred = (ProbeSite("alloc", "x"), ProbeSite("zero.alloc", "y", "inferred", count="inferred"))
    assert said(run_of, zeroing(0, manifest=inferred)) is None


def guests(zeroed: int, populated: int = 0, made_after_ns: int = SECOND) -> Case:
    def row(event: str, gfn: int, **columns: Any) -> Row:
        return streamed(event, 0, 500, ts_ns=START + gfn, vm=1, gfn=gfn, pfn=gfn, **columns)

    # Each page twice: looked up again it is no first use.
    rows = [row("gmem.get", gfn % 200) for gfn in range(400)]
    rows += [row(event, gfn) for gfn in range(zeroed) for event in ("gmem.zero", "gmem.prepare")]
    if populated:
        rows.append(row("gmem.populate", 0, bytes=populated * 4096))
    machine = VirtualMachine(1, 7, "qemu", "snp", True, START + SECOND, -START - made_after_ns)
    return case(rows, *GMEM, vms=(machine,))


def test_pages_of_a_guest_were_used_for_the_first_time(run_of: RunOf) -> None:
    text = said(run_of, guests(0))
    assert text is not None and "200 pages for the first time, but gmem.zero" in text
    assert "gmem.prepare (" in text
    (own,) = (c.text for c in view(run_of(guests(0)), "gmem").report.caveats if c.id == "site-silent")
    assert own == text
    assert said(run_of, guests(200)) is None
    assert said(run_of, guests(0, populated=200)) is None
    assert said(run_of, guests(0, made_after_ns=-SECOND)) is None


@pytest.mark.parametrize(("name", "made"), [("accept", accepting((), 512 * MIB_KB)), ("zero", zeroing(0))])
def test_the_views_of_a_topic_say_it_too(run_of: RunOf, name: str, made: Case) -> None:
    assert "site-silent" in [c.id for c in view(run_of(made), name).report.caveats]
