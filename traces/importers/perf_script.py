# SPDX-License-Identifier: Apache-2.0
"""Text of ``perf script``: with the default fields, --ns, -F with fields left out, call chains.

perf prints probes as trace-cmd does, without symbols; where there are call
chains, the first frame of an entry names its function.  The clock is perf's
(local_clock()) unless `perf record -k` chose one, which only --header shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memtrace.traces.importers.bodies import Bodies, told_probes
from memtrace.traces.importers.names import function_of
from memtrace.traces.importers.parsed import ENTRY, RETURN, Given, Parsed, Stamp

NAME = "perf"

_LINE = re.compile(
    r"(?P<comm>\S.{0,15}?|\s+\S.{0,15}?)\s+(?P<pid>\d+)(?:/(?P<tid>\d+))?\s+(?:\[(?P<cpu>\d+)\]\s+)?"
    r"(?P<sec>\d+)\.(?P<frac>\d{6}|\d{9}):\s+(?:\d+\s+)?(?P<event>[\w.-]+:[\w.-]+):\s*(?P<rest>.*)"
)
_FRAME = re.compile(r"\s+([0-9a-f]+) (.+?)(?:\+0x[0-9a-f]+)?(?: \(.*\))?\s*$")
_ADDRESSES = re.compile(r"\(([0-9a-f]+)(?: <- ([0-9a-f]+))?\) ?(.*)")
_CLOCKID = re.compile(r"# clockid: (\w+)")
_CPUS = re.compile(r"# nrcpus online : (\d+)")
_LOST = re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)? .*?(?:lost|LOST)[ :]+(\d+)")
_CLOCKS = {"monotonic": "mono", "monotonic_raw": "mono_raw", "boottime": "boot", "tai": "tai"}
_KERNEL = 1 << 63
_PROLOGUE = 16
"""A probe sits at most so many bytes after its function's start."""


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return sum(bool(_LINE.match(line) or _FRAME.match(line)) for line in head)


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """Reads all lines."""
    parsed = Parsed(NAME, clock=given.clock, clock_evidence="--clock" if given.clock else "")
    bodies = Bodies(given)
    reader = _Reader(parsed, bodies)
    for line in lines:
        parsed.lines += 1
        if match := _LINE.match(line):
            reader.event(match, line)
        elif reader.chain is not None and (frame := _FRAME.match(line)):
            reader.chain.append((int(frame[1], 16), frame[2]))
            parsed.used += 1
        elif not line.strip():
            reader.end_of_chain()
            parsed.ignored += 1
        elif line.startswith("#"):
            reader.header(line, given)
        elif lost := _LOST.search(line):
            parsed.lost += int(lost[1])
            parsed.used += 1
        else:
            parsed.not_understood(line)
    reader.close()
    parsed.notes += told_probes(bodies)
    return parsed


class _Reader:
    """Events, each with the call chain that may follow it."""

    def __init__(self, parsed: Parsed, bodies: Bodies) -> None:
        self.parsed = parsed
        self.chain: list[tuple[int, str]] | None = None
        self._bodies = bodies
        self._functions: dict[int, str] = {}
        self._pending: list[tuple[int, int, bool, str, str]] = []

    def header(self, line: str, given: Given) -> None:
        parsed = self.parsed
        if (clock := _CLOCKID.match(line)) and not given.clock:
            parsed.clock, parsed.clock_evidence = _CLOCKS.get(clock[1], clock[1]), line.strip("# \n")
        elif cpus := _CPUS.match(line):
            parsed.cpus = int(cpus[1])
        parsed.ignored += 1

    def event(self, match: re.Match[str], line: str) -> None:
        self.end_of_chain()
        parsed, bodies = self.parsed, self._bodies
        fraction = match["frac"]
        ts = int(match["sec"] + fraction) * (1000 if len(fraction) == 6 else 1)
        name = match["event"].rpartition(":")[2]
        rest = match["rest"]
        self.chain = []
        if place := _ADDRESSES.match(rest):
            meaning = bodies.by_name(name, bool(place[2]), place[3])
            if meaning is None and name in bodies.unknown_probes:
                self._pending.append((len(parsed.stamps), int(place[1], 16), bool(place[2]), place[3], name))
                meaning = (RETURN if place[2] else ENTRY, "", "kprobe_event", place[3])
        else:
            read = bodies.read(f"{name}: {rest}")
            meaning = read if isinstance(read, tuple) else None
        if meaning is None:
            self.chain = None
            parsed.ignored += 1
            return
        kind, what, how, args = meaning
        pid, tid = int(match["pid"]), match["tid"]
        thread = int(tid) if tid else pid
        process = pid if tid else None
        cpu = int(match["cpu"]) if match["cpu"] else None
        comm = match["comm"].strip()
        parsed.stamps.append(Stamp(ts, kind, what, how, cpu, thread, process, comm, args))
        parsed.used += 1

    def end_of_chain(self) -> None:
        """Puts the chain on its event, and learns where functions are."""
        chain, self.chain = self.chain, None
        if not chain:
            return
        stamps = self.parsed.stamps
        # By the address: the file may be [kernel.kallsyms] or a vmlinux, and [vdso] is not the kernel.
        kernel = [name for address, name in chain if address >= _KERNEL]
        stamps[-1] = stamps[-1]._replace(stack=";".join(reversed(kernel)) or None)
        if self._pending and self._pending[-1][0] == len(stamps) - 1 and stamps[-1].kind == ENTRY:
            address, frame = self._pending[-1][1], chain[0]
            if 0 <= frame[0] - address <= _PROLOGUE:
                self._functions[address] = function_of(frame[1])

    def close(self) -> None:
        """Names the probes whose functions call chains told; forgets the others."""
        self.end_of_chain()
        parsed, bodies = self.parsed, self._bodies
        for position, address, _, _, name in self._pending:
            if function := self._functions.get(address):
                parsed.stamps[position] = parsed.stamps[position]._replace(what=bodies.function(function))
                bodies.unknown_probes.pop(name, None)
        known = [stamp for stamp in parsed.stamps if stamp.what]
        dropped = len(parsed.stamps) - len(known)
        parsed.stamps[:] = known
        parsed.used -= dropped
        parsed.ignored += dropped
