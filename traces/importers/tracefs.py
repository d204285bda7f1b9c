# SPDX-License-Identifier: Apache-2.0
"""Text of /sys/kernel/tracing/trace and trace_pipe: functions, events, probes, function_graph.

Lines as kernel/trace/trace_output.c prints them: task and pid, with ``record-tgid``
the process, CPU, with ``irq-info`` four or five signs, time, body.  Lines of
function_graph have their own form: ``graph``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memtrace.traces.importers.bodies import Bodies, Body, told_probes
from memtrace.traces.importers.graph import GRAPH_LINE, Graph
from memtrace.traces.importers.parsed import Given, Parsed, Stamp

NAME = "tracefs"

LINE = re.compile(
    r"\s*(.{1,16}?)-(\d+)\s+(?:\(\s*(\d+|-+)\)\s+)?\[(\d+)\]\s+(?:([^\s:]{4,8})\s+)?"
    r"(?:(\d+)\.(\d+)|(\d+)): (.*)"
)
"""comm, thread, process, CPU, signs, seconds, fraction (or a bare count), body."""
LOST = re.compile(r"CPU:(\d+) \[LOST(?: (\d+))? EVENTS\]")
_HEADER = re.compile(r"# tracer: (\S+)")
_ENTRIES = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)\s+#P:(\d+)")
_BUFFER = re.compile(r"#+ CPU \d+ buffer (?:started|stopped) #+")
_FRAME = re.compile(r" => (\S+)")
_SCALE = {6: 1000, 9: 1}
_STACK_TRACE = ("<stack trace>", "kernel_stack: <stack trace>")
_PLAIN_COUNT = "counts, not times (trace_clock counter or x86-tsc)"


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    matches = (LINE.match(line) or GRAPH_LINE.match(line) or LOST.match(line) for line in head)
    lines = sum(bool(match) for match in matches)
    return lines + sum(bool(_HEADER.match(line) or _ENTRIES.match(line)) for line in head)


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """Reads all lines."""
    parsed = Parsed(NAME, clock=given.clock, clock_evidence="--clock" if given.clock else "")
    bodies = Bodies(given)
    graph = Graph(bodies, parsed)
    overwritten = 0
    counts_only = False
    stamps, read, match_line = parsed.stamps, bodies.read, LINE.match
    stack: list[str] | None = None
    in_graph = False
    for line in lines:
        parsed.lines += 1
        # Only to be quick: a graph's lines are tried as such first.
        if in_graph and graph.line(line):
            continue
        match = match_line(line)
        if match is None:
            if stack is not None and (frame := _FRAME.match(line)):
                stack.append(frame[1])
                parsed.used += 1
            elif not in_graph and graph.line(line):
                in_graph = True
            elif lost := LOST.search(line):
                parsed.loss(int(lost[1]), int(lost[2] or 1))
                parsed.used += 1
            elif entries := _ENTRIES.match(line):
                overwritten = int(entries[2]) - int(entries[1])
                parsed.cpus = int(entries[3])
                parsed.used += 1
            elif line.startswith("#") or not line.strip() or _BUFFER.match(line):
                parsed.ignored += 1
            else:
                parsed.not_understood(line)
            continue
        comm, tid, pid, cpu, _, seconds, fraction, count, body = match.groups()
        if stack:
            _attach(stamps, stack)
        stack = None
        if body in _STACK_TRACE:
            parsed.ignored += 1
            stack = [] if stamps and stamps[-1].tid == int(tid) else None
            continue
        meaning = read(body)
        if meaning is None:
            parsed.ignored += 1
            continue
        if meaning is False or (seconds is not None and len(fraction) not in _SCALE):
            parsed.not_understood(line)
            continue
        if seconds is None:
            counts_only, ts = True, int(count)
        else:
            ts = int(seconds + fraction) * _SCALE[len(fraction)]
        assert not isinstance(meaning, bool)
        stamps.append(_stamp(ts, meaning, int(cpu), int(tid), pid, comm))
        parsed.used += 1
    if stack:
        _attach(stamps, stack)
    # A trace says how many were overwritten, a pipe where; both tell of the same ones.
    parsed.lost = max(overwritten, parsed.lost)
    if counts_only:
        parsed.clock, parsed.clock_evidence = "count", _PLAIN_COUNT
    graph.close()
    parsed.notes += told_probes(bodies)
    return parsed


def _stamp(ts: int, meaning: Body, cpu: int, tid: int, pid: str | None, comm: str) -> Stamp:
    kind, what, how, args = meaning
    process = int(pid) if pid and pid[0] != "-" else None
    return Stamp(ts, kind, what, how, cpu, tid, process, comm, args)


def _attach(stamps: list[Stamp], frames: list[str]) -> None:
    """Puts a stack, printed innermost first, on the stamp before it."""
    names = [frame.partition("+")[0] for frame in reversed(frames)]
    stamps[-1] = stamps[-1]._replace(stack=";".join(names))
