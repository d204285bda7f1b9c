# SPDX-License-Identifier: Apache-2.0
"""Output of ``bpftrace -f json``: what its scripts print, in words that name themselves.

bpftrace prints what a script tells it to.  A line of printf is understood if it
is of ``name=value`` words with ``ts`` (nsecs) and ``probe`` (the builtin) among
them, and cpu, pid, tid, comm (last, for it may have spaces) and the fields of
``fields.SPELLINGS`` where the script has them:

    kprobe:accept_memory { printf("ts=%llu probe=%s cpu=%d tid=%d start=%lu size=%lu comm=%s\\n",
                                  nsecs, probe, cpu, tid, arg0, arg1, comm); }

Maps and histograms have no times and make no rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from memtrace.traces.importers.fields import words
from memtrace.traces.importers.parsed import ENTRY, POINT, RETURN, Given, Parsed, Stamp
from memtrace.traces.importers.topics import Wanted

NAME = "bpftrace"

_KINDS = {
    **dict.fromkeys(("kprobe", "kfunc", "fentry", "k", "f"), ENTRY),
    **dict.fromkeys(("kretprobe", "kretfunc", "fexit", "kr", "fr"), RETURN),
    **dict.fromkeys(("tracepoint", "rawtracepoint", "t", "rt"), POINT),
}
_LINE = re.compile(r'\s*\{"type": ?"\w+", ?"(?:data|msg)"')
_CLOCK = "bpftrace's nsecs: CLOCK_MONOTONIC or CLOCK_BOOTTIME by its version"


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return sum(bool(_LINE.match(line)) for line in head)


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """Reads all lines."""
    clock = (given.clock, "--clock") if given.clock else ("mono", _CLOCK)
    parsed = Parsed(NAME, clock=clock[0], clock_evidence=clock[1])
    wanted = Wanted()
    printed = ""
    for line in lines:
        parsed.lines += 1
        if not line.strip():
            parsed.ignored += 1
            continue
        try:
            document = json.loads(line)
            kind, data = document["type"], document.get("data")
        except (ValueError, KeyError, TypeError, AttributeError):
            parsed.not_understood(line)
            continue
        if kind == "lost_events" and isinstance(data, dict):
            parsed.lost += int(data.get("events", 0))
            parsed.used += 1
        elif kind == "printf" and isinstance(data, str):
            # A script may print one line by several printf().
            printed += data
            if not printed.endswith("\n"):
                parsed.used += 1
                continue
            _take(printed, line, parsed, wanted)
            printed = ""
        else:
            parsed.ignored += 1
    return parsed


def _take(text: str, line: str, parsed: Parsed, wanted: Wanted) -> None:
    """A line that a script printed."""
    fields = words(text)
    kind, _, where = fields.get("probe", "").partition(":")
    what = wanted[where.rpartition(":")[2]] if kind in _KINDS else ""
    if "probe" not in fields or not fields.get("ts", "").isdecimal():
        parsed.not_understood(line)
        return
    if not what:
        parsed.ignored += 1
        return
    numbers = {name: int(fields[name]) for name in ("cpu", "tid", "pid") if fields.get(name, "").isdecimal()}
    comm = text.partition("comm=")[2].strip() or None
    parsed.stamps.append(
        Stamp(
            int(fields["ts"]),
            _KINDS[kind],
            what,
            "bpftrace",
            numbers.get("cpu"),
            numbers.get("tid", numbers.get("pid")),
            numbers.get("pid"),
            comm,
            _rest(text),
        )
    )
    parsed.used += 1


def _rest(text: str) -> str:
    """The words that are fields of the probed function."""
    own = ("ts=", "probe=", "cpu=", "tid=", "pid=")
    before = text.partition("comm=")[0]
    return " ".join(word for word in before.split() if not word.startswith(own))
