# SPDX-License-Identifier: Apache-2.0
"""Text of ``trace-cmd report``, also with -R (raw fields) or -t (ns).

Unlike tracefs it prints the process's signs only with latency formats, names
function_graph's calls as events (``funcgraph_entry:``), and knows no symbols
of probes: ``(ADDRESS)`` at the entry, ``(FUNCTION <- CALLER)`` at the return.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memtrace.traces.importers.bodies import Bodies, told_probes
from memtrace.traces.importers.graph import Graph
from memtrace.traces.importers.parsed import ENTRY, Given, Parsed, Stamp

NAME = "trace-cmd"

_LINE = re.compile(
    r"\s*(.{1,16}?)-(\d+)\s+\[(\d+)\]\s+(?:([^\s:]{4,8})\s+)?(\d+)\.(\d{6}|\d{9}): +([\w.-]+): +(.*)"
)
_GRAPH = re.compile(r"(?:[$@*#!+] *)?(?:(\d+(?:\.\d+)?) us +)?\|  ?(.*)")
_LOST = re.compile(r"CPU:(\d+) \[(?:LOST )?(\d+)? ?EVENTS(?: DROPPED)?\]")
_FUNCTION = re.compile(r"([\w.]+) <-- ([\w.]+)")
_RAW_PROBE = re.compile(r"__probe_(?:ip|func)=")
_CPUS = re.compile(r"cpus=(\d+)\s*$")
_VERSION = re.compile(r"version = \d+\s*$")
_WHOLE = 9


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format; its first line decides where tracefs's look alike."""
    lines = sum(bool(_LINE.match(line)) for line in head)
    return lines + 1 + len(head) if any(_CPUS.match(line) for line in head[:3]) else 0


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """Reads all lines."""
    parsed = Parsed(NAME, clock=given.clock, clock_evidence="--clock" if given.clock else "")
    bodies = Bodies(given)
    graph = Graph(bodies, parsed)
    for line in lines:
        parsed.lines += 1
        match = _LINE.match(line)
        if match is None:
            if cpus := _CPUS.match(line):
                parsed.cpus = int(cpus[1])
                parsed.used += 1
            elif lost := _LOST.search(line):
                parsed.loss(int(lost[1]), int(lost[2] or 1))
                parsed.used += 1
            elif not line.strip() or _VERSION.match(line) or line.startswith(("#", "trace-cmd", "CPU ")):
                parsed.ignored += 1
            else:
                parsed.not_understood(line)
            continue
        comm, tid, cpu, _, seconds, fraction, event, rest = match.groups()
        ts = int(seconds + fraction) * 10 ** (_WHOLE - len(fraction))
        if event in ("funcgraph_entry", "funcgraph_exit"):
            if called := _GRAPH.match(rest):
                graph.take(called[2], line, ts, _ns(called[1]), int(cpu), int(tid), comm)
            else:
                # -R: addresses alone.
                parsed.ignored += 1
            continue
        if event == "function":
            called = _FUNCTION.match(rest)
            what = bodies.function(called[1]) if called else ""
            caller = called[2] if called else ""
            meaning = (ENTRY, what, "ftrace", f"caller={caller}") if what else None
        elif _RAW_PROBE.match(rest):
            meaning = bodies.by_name(event, rest.startswith("__probe_func"), _raw(rest))
        else:
            read = bodies.read(f"{event}: {rest}")
            if read is False:
                parsed.not_understood(line)
                continue
            meaning = read if isinstance(read, tuple) else None
        if meaning is None:
            parsed.ignored += 1
            continue
        kind, what, how, args = meaning
        parsed.stamps.append(Stamp(ts, kind, what, how, int(cpu), int(tid), None, comm, args))
        parsed.used += 1
    graph.close()
    parsed.notes += told_probes(bodies)
    return parsed


def _raw(rest: str) -> str:
    """The probe's own fields, without those of every probe."""
    return " ".join(word for word in rest.split() if not word.startswith("__probe_"))


def _ns(micros: str | None) -> int | None:
    return None if micros is None else round(float(micros) * 1000)
