# SPDX-License-Identifier: Apache-2.0
"""Putting the files of one boot on CLOCK_BOOTTIME.

An offset comes from, in this order: the clock's own definition (boot; mono,
equal to it until the first suspend; uptime); a marker that says CLOCK_BOOTTIME,
written into the trace; the kernel's log line on its stable clock, which holds
CLOCK_MONOTONIC, printk's clock and sched_clock() for one tick; or something
that an aligned file has seen happen too.  A file with none of these is not
aligned: its offset is unknown, and its stamps are used as they are.

The line on the stable clock is exact at its moment.  Before it the clocks may
have drifted apart (ticks lost while interrupts were off): by how much two files
differ on what both have seen is added to the uncertainty.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from memtrace.traces.importers.bodies import marker
from memtrace.traces.importers.parsed import Moment, Parsed, Relation
from memtrace.traces.importers.printed import between, shared_lines

CLOCKS = (*("local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot", "tai", "x86-tsc"),)
"""Words of /sys/kernel/tracing/trace_clock, as --clock takes them."""
_JIFFY_NS = 10_000_000
_STAMP_NS = 1000
_LIKE_BOOTTIME = {
    "boot": (0, "CLOCK_BOOTTIME itself"),
    "mono": (0, "CLOCK_MONOTONIC, the same as CLOCK_BOOTTIME until the first suspend"),
    "uptime": (_JIFFY_NS, "jiffies since boot"),
}
_SAME_AS = {"perf": "printk", "global": "local"}
"""perf's clock is local_clock(), as printk's; global is local kept from going back over CPUs."""


@dataclass(frozen=True)
class Alignment:
    """How a file's stamps become CLOCK_BOOTTIME."""

    clock: str
    """In words, with where it is known from, or why the file could not be aligned."""
    offset_ns: int | None
    uncertainty_ns: int | None
    shift_ns: int
    """What is added in any case: the offset, or what puts the file on another unaligned one's clock."""
    knots: tuple[tuple[int, int], ...] = ()
    """Stamps of the file and their CLOCK_BOOTTIME, where its clock did not run evenly."""

    def place(self, ns: int) -> int:
        """CLOCK_BOOTTIME of a stamp."""
        return between(self.knots, ns) if self.knots else ns + self.shift_ns


def name_clock(parsed: Parsed, cmdline: str) -> tuple[str, str]:
    """The name of a file's clock, and how it is known."""
    if parsed.clock:
        return parsed.clock, parsed.clock_evidence
    if parsed.format == "perf":
        return "perf", "perf's default; `perf record -k` may have chosen another"
    if found := re.search(r"\btrace_clock=(\S+)", cmdline):
        return found[1], f"command line: {found[0]}"
    return "local", "guessed: trace_clock's default; say --clock if it was another"


def align(files: list[Parsed], cmdline: str) -> list[Alignment]:
    """The alignment of each file, in their order."""
    relations = [relation for file in files for relation in file.relations]
    found = [_alone(file, *name_clock(file, cmdline), relations) for file in files]
    for index, alignment in enumerate(found):
        if alignment.offset_ns is None and (better := _shared(files, found, index, aligned=True)):
            found[index] = better
    reference = next((i for i, a in enumerate(found) if a.offset_ns is None and files[i].moments), None)
    for index, alignment in enumerate(found):
        if alignment.offset_ns is None and reference is not None and index != reference:
            found[index] = _shared(files, found, index, aligned=False) or alignment
    found = [warped(files, found, index) for index in range(len(files))]
    return [_checked(files, found, index) for index in range(len(files))]


def _alone(file: Parsed, clock: str, evidence: str, relations: list[Relation]) -> Alignment:
    """By the file itself, or by the log's line on the clocks."""
    said = f"{clock} ({evidence})"
    if clock in _LIKE_BOOTTIME:
        uncertainty, why = _LIKE_BOOTTIME[clock]
        return Alignment(f"{said}: {why}", 0, uncertainty, 0)
    if clock in ("none", "count", "counter", "x86-tsc"):
        return _not(f"{said}: not aligned, because these are no times")
    for stamp in file.stamps:
        if stamp.what in ("memtrace", "tracing_mark_write", "print") and (boottime := marker(stamp.args)):
            offset = boottime - stamp.ts_ns
            return Alignment(f"{said}: marker boottime_ns={boottime}", offset, 1_000_000, offset)
    for relation in relations:
        if relation.clock in (clock, _SAME_AS.get(clock)):
            offset = relation.boottime_ns - relation.at_ns
            uncertainty = max(relation.uncertainty_ns, _STAMP_NS)
            return Alignment(f"{said}: {relation.evidence}", offset, uncertainty, offset)
    return _not(f"{said}: not aligned, because nothing in the files relates it to CLOCK_BOOTTIME")


def warped(files: list[Parsed], found: list[Alignment], index: int) -> Alignment:
    """A log placed by those of its lines that an aligned trace has seen printed."""
    alignment = found[index]
    for other, theirs in enumerate(found):
        pairs = shared_lines(files[index].log, files[other].stamps)
        if theirs.offset_ns is None or not pairs:
            continue
        knots = tuple((ours, its + theirs.shift_ns) for ours, its in pairs)
        shifts = [boottime - ours for ours, boottime in knots]
        drift = (
            f"{len(knots)} lines seen printed in a trace, {(max(shifts) - min(shifts)) / 1e6:.1f} ms of drift"
        )
        return dataclasses.replace(
            alignment,
            clock=f"{alignment.clock.partition(': not aligned')[0]}; {drift}",
            offset_ns=shifts[-1],
            uncertainty_ns=theirs.uncertainty_ns,
            shift_ns=shifts[-1],
            knots=knots,
        )
    return alignment


def _checked(files: list[Parsed], found: list[Alignment], index: int) -> Alignment:
    """The alignment, less certain by what it leaves between moments that two files share."""
    alignment = found[index]
    if alignment.uncertainty_ns is None:
        return alignment
    apart = 0
    for other, theirs in enumerate(found):
        if other == index or theirs.offset_ns is None:
            continue
        for name in files[index].moments.keys() & files[other].moments.keys():
            mine, its = files[index].moments[name], files[other].moments[name]
            early = theirs.place(its.lo_ns) - alignment.place(mine.hi_ns)
            late = alignment.place(mine.lo_ns) - theirs.place(its.hi_ns)
            apart = max(apart, early, late)
    if apart <= alignment.uncertainty_ns:
        return alignment
    return dataclasses.replace(
        alignment,
        clock=f"{alignment.clock}; {apart / 1e6:.1f} ms off another file on what both saw",
        uncertainty_ns=apart,
    )


def _not(why: str) -> Alignment:
    return Alignment(why, None, None, 0)


def _shared(files: list[Parsed], found: list[Alignment], index: int, *, aligned: bool) -> Alignment | None:
    """By a moment that another file has too; None if there is none."""
    best: tuple[int, int, str] | None = None
    for other, alignment in enumerate(found):
        if other == index or (alignment.offset_ns is None) is aligned:
            continue
        for name in files[index].moments.keys() & files[other].moments.keys():
            if (fit := _fit(files[index].moments[name], files[other].moments[name], alignment)) and (
                best is None or fit[1] < best[1]
            ):
                best = (*fit, f"{name}, seen by both")
    if best is None:
        return None
    shift, uncertainty, why = best
    clock = found[index].clock.partition(": not aligned")[0]
    if aligned:
        return Alignment(f"{clock}: {why}", shift, uncertainty, shift)
    return Alignment(
        f"{clock}: not aligned to CLOCK_BOOTTIME, put on the other file's clock by {why}", None, None, shift
    )


def _fit(ours: Moment, theirs: Moment, alignment: Alignment) -> tuple[int, int]:
    """Shift and uncertainty that bring our bounds onto theirs."""
    low = theirs.lo_ns - ours.hi_ns + alignment.shift_ns
    high = theirs.hi_ns - ours.lo_ns + alignment.shift_ns
    return (low + high) // 2, (high - low + 1) // 2 + (alignment.uncertainty_ns or 0)
