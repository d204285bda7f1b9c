# SPDX-License-Identifier: Apache-2.0
"""Lines of the function_graph tracer (kernel/trace/trace_functions_graph.c).

``func();`` is entry and return in one, ``func() {`` an entry, ``}`` the return of
the innermost function that is open on its task.  The printed duration is finer
than the stamps and is kept; its signs ($ @ * # ! +) say only how long it is.
Without ``funcgraph-abstime`` there are no times: stamps then are the sum of
durations, which keeps the order and nothing else.

Arguments (funcgraph-args) are read by the names of the kernel's parameters.  What is returned
(funcgraph-retval, a1be9ccc57f0) is printed of functions that return nothing, too: only that of
RETURNING is read.
"""

from __future__ import annotations

import re

from memtrace.traces.importers.bodies import Bodies, arguments
from memtrace.traces.importers.parsed import ENTRY, POINT, RETURN, Parsed, Stamp

GRAPH_LINE = re.compile(
    r"\s*(?:(\d+)\.(\d{6}) \|\s+)?(\d+)\)\s+(?:(\S.{0,15}?)-(\d+)\s*\|\s+)?(?:[^\s|]{4,8}\s*\|\s+)?"
    r"(?:[$@*#!+] *)?(?:(\d+(?:\.\d+)?) us +)?\|  ?(.*)"
)
"""seconds, fraction, CPU, comm, thread, microseconds, body."""
TASK_SWITCH = re.compile(r"\s*(?:\d+\.\d+ \|\s+)?(\d+)\)\s+(\S.*?)-(\d+)\s+=>\s+(\S.*?)-(\d+)\s*$")
_RULE = re.compile(r"\s*-{20,}\s*$")
_IRQ = re.compile(r"\s*(?:\d+\.\d+ \|\s+)?\d+\)\s.*(?:=+>|<=+) \|\s*$")
_CALL = re.compile(r"([\w.]+)(?: \[\w+\])?\((.*?)\)(;| \{)(?: /\* (.*) \*/)?")
_END = re.compile(r"\}(?: /\* (.*) \*/)?\s*$")
_NAMED = re.compile(r"([\w.]+)(?: |$)")
_RETURNED = re.compile(r"(?:= |ret=)(-?\w+)")
_COMMENT = re.compile(r"/\* (.*) \*/\s*$")
_BOOL, _LONG = 8, 64
RETURNING: dict[str, int] = {
    **dict.fromkeys(("cond_accept_memory", "try_to_accept_memory", "try_to_accept_memory_one"), _BOOL),
    **dict.fromkeys(("get_page_from_freelist", "vmemmap_alloc_block", "__populate_section_memmap"), _LONG),
    **dict.fromkeys(("__add_memory_resource", "add_memory_resource", "__add_memory"), _LONG),
    **dict.fromkeys(
        ("arch_add_memory", "__add_pages", "sparse_add_section", "mhp_init_memmap_on_memory"), _LONG
    ),
    **dict.fromkeys(("online_pages", "memory_subsys_online", "memory_block_online"), _LONG),
    **dict.fromkeys(("offline_pages", "try_remove_memory"), _LONG),
}
"""Functions whose value tells how they ended, and its bits; of a bool the others mean nothing."""
_NO_TIMES = "no times, only durations (option funcgraph-abstime was off)"


class Graph:
    """Reads one file's lines, task by task."""

    def __init__(self, bodies: Bodies, parsed: Parsed) -> None:
        self._bodies = bodies
        self._parsed = parsed
        self._tasks: dict[int, tuple[int | None, str | None]] = {}
        self._open: dict[tuple[int, int | None], list[str]] = {}
        self._elapsed: dict[int, int] = {}
        self._untimed = False

    def line(self, line: str) -> bool:
        """Takes a line, if it is one of this tracer's."""
        if match := GRAPH_LINE.match(line):
            seconds, fraction, cpu, comm, tid, micros, body = match.groups()
            ts = int(seconds + fraction) * 10 ** (9 - len(fraction)) if seconds else None
            if tid is not None:
                self._tasks[int(cpu)] = (int(tid), comm)
            self.body(int(cpu), ts, _ns(micros), body, line)
        elif switch := TASK_SWITCH.match(line):
            self._tasks[int(switch[1])] = (int(switch[5]), switch[4])
            self._parsed.ignored += 1
        elif _RULE.match(line) or _IRQ.match(line):
            self._parsed.ignored += 1
        else:
            return False
        return True

    def body(self, cpu: int, ts: int | None, dur: int | None, body: str, line: str) -> None:
        """Takes what stands after the bar; ``ts`` None: the tracer printed none."""
        tid, comm = self._tasks.get(cpu, (None, None))
        self.take(body, line, ts, dur, cpu, tid, comm)

    def take(
        self,
        body: str,
        line: str,
        ts: int | None,
        dur: int | None,
        cpu: int,
        tid: int | None,
        comm: str | None,
    ) -> None:
        """One call, return or comment of a task."""
        parsed = self._parsed
        if ts is None:
            self._untimed = True
            ts = self._elapsed.get(cpu, 0)
            if dur is not None and ";" in body:
                self._elapsed[cpu] = ts + dur
        body = body.strip()
        stack = self._open.setdefault((-1, tid) if tid else (cpu, None), [])
        made: list[Stamp] = []
        if call := _CALL.match(body):
            what = self._bodies.function(call[1])
            if call[3] == " {":
                stack.append(what)
            if what:
                made = [Stamp(ts, ENTRY, what, "function_graph", cpu, tid, None, comm, arguments(call[2]))]
            if what and call[3] == ";":
                end, back = ts + (dur or 0), returned(what, call[4])
                made.append(Stamp(end, RETURN, what, "function_graph", cpu, tid, None, comm, back, dur))
        elif end_of := _END.match(body):
            named = _NAMED.match(end_of[1] or "")
            what = stack.pop() if stack else self._bodies.function(named[1]) if named else ""
            if what:
                back = returned(what, end_of[1])
                made = [Stamp(ts, RETURN, what, "function_graph", cpu, tid, None, comm, back, dur)]
        elif comment := _COMMENT.match(body):
            meaning = self._bodies.read(comment[1])
            if isinstance(meaning, tuple) and meaning[0] == POINT:
                made = [Stamp(ts, POINT, meaning[1], meaning[2], cpu, tid, None, comm, meaning[3])]
        elif body:
            parsed.not_understood(line)
            return
        parsed.stamps += made
        if made:
            parsed.used += 1
        else:
            parsed.ignored += 1

    def close(self) -> None:
        """After the last line."""
        if self._untimed:
            self._parsed.clock, self._parsed.clock_evidence = "none", _NO_TIMES


def returned(what: str, comment: str | None) -> str:
    """What a function returned, as a word; "" where it is not told, or where it returns nothing."""
    bits = RETURNING.get(what)
    found = _RETURNED.search(comment or "") if bits else None
    if not bits or not found:
        return ""
    try:
        value = int(found[1], 0)
    except ValueError:
        return ""
    return f"ret={value & 0xFF if bits == _BOOL else value}"


def _ns(micros: str | None) -> int | None:
    """Nanoseconds of "12.345" or "1000149" microseconds."""
    if micros is None:
        return None
    whole, _, fraction = micros.partition(".")
    return int(whole) * 1000 + int((fraction + "000")[:3])
