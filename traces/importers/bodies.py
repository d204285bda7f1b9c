# SPDX-License-Identifier: Apache-2.0
"""What follows task, CPU and time on a line of tracefs: an event, a probe's event or a function.

Formats as the kernel prints them: kernel/trace/trace_output.c (function, events),
trace_probe.h and trace_kprobe.c (``NAME: (FUNCTION+0x4/0x50) …`` at the entry,
``NAME: (CALLER+0xe6/0x1a0 <- FUNCTION) …`` at the return), trace_fprobe.c likewise.
"""

from __future__ import annotations

import re

from memtrace.traces.importers.names import function_of, probe_candidates
from memtrace.traces.importers.parsed import ENTRY, POINT, RETURN, Given
from memtrace.traces.importers.topics import Wanted

Body = tuple[int, str, str, str]
"""kind, what, how, args"""

_HEX = re.compile(r"(?:0x)?[0-9a-f]{6,16}")


class Bodies:
    """Reads bodies; remembers which probes it could not tell the function of."""

    def __init__(self, given: Given) -> None:
        self._wanted = Wanted()
        self._probes = given.probes
        self._by_name: dict[str, tuple[str, bool] | None] = {}
        self.unknown_probes: dict[str, int] = {}
        """Lines of probes whose function is not to be told, by the probe's name."""

    def read(self, body: str) -> Body | bool | None:
        """The body's meaning; None: understood, and nothing to keep; False: not understood."""
        name, colon, rest = body.partition(": ")
        if colon and " " not in name:
            if rest.startswith("(") and name != "console":
                return self._probe(name, rest)
            if what := self._wanted[name.rpartition(":")[2]]:
                return POINT, what, "trace_event", rest
            return None
        name, arrow, caller = body.partition(" <-")
        if arrow:
            what = self._wanted[name]
            if not what:
                return None
            # Option func-args.
            args = arguments(name.partition("(")[2].removesuffix(")"))
            return ENTRY, what, "ftrace", f"caller={caller} {args}".rstrip()
        # An event without fields prints its name and a colon.
        return None if body.rstrip().endswith(":") or not body.strip() else False

    def function(self, name: str) -> str:
        """The name under which a function is kept; "" if it is not."""
        return self._wanted[name]

    def _probe(self, name: str, rest: str) -> Body | bool | None:
        place, closed, args = rest[1:].partition(")")
        if not closed:
            return False
        left, arrow, right = place.partition(" <- ")
        if _HEX.fullmatch(left):
            # Without symbols (trace-cmd, perf) the event's own name must tell; there the
            # function stands first in returns.
            return self.by_name(name, bool(arrow), args)
        what = self._wanted[right if arrow else left]
        return (RETURN if arrow else ENTRY, what, "kprobe_event", args) if what else None

    def by_name(self, event: str, returns: bool, args: str) -> Body | None:
        """A probe's event by its name alone."""
        event = event.rpartition(":")[2]
        if event not in self._by_name:
            self._by_name[event] = self._find(event)
        found = self._by_name[event]
        if found is None:
            self.unknown_probes[event] = self.unknown_probes.get(event, 0) + 1
            return None
        what = found[0]
        return (RETURN if returns or found[1] else ENTRY, what, "kprobe_event", args) if what else None

    def _find(self, event: str) -> tuple[str, bool] | None:
        """Function ("" for one that is not kept) and whether at the return; None: not to be told."""
        if event in self._probes:
            function, returns = self._probes[event]
            return self._wanted[function], returns
        for candidate, returns in probe_candidates(event):
            if what := self._wanted[candidate]:
                return what, returns
        return None


def arguments(printed: str) -> str:
    """``name=value`` words of what stands between a function's parentheses: ``name=value, …``."""
    return printed.replace(", ", " ")


def told_probes(bodies: Bodies) -> list[str]:
    """What to tell of probes whose function is not known."""
    if not bodies.unknown_probes:
        return []
    names = ", ".join(sorted(bodies.unknown_probes)[:4])
    count = sum(bodies.unknown_probes.values())
    return [
        f"{count} lines of probes ({names}) name no function; add the kprobe_events file"
        " of that machine to the import"
    ]


def marker(args: str) -> int | None:
    """CLOCK_BOOTTIME in a marker that memtrace (or anybody) wrote: ``memtrace: boottime_ns=N``."""
    match = re.search(r"\bboottime_ns=(\d+)", args)
    return int(match[1]) if match else None


def probe_list(line: str) -> tuple[str, tuple[str, bool]] | None:
    """Name, function and whether at the return, of a line of kprobe_events; None if it is none."""
    match = re.match(r"([pr])\d*:(?:[\w.-]+/)?(\S+) (?:\S+:)?([\w.]+)(?:\+\S+)?(%return)?(?:\s|$)", line)
    if match is None:
        return None
    return match[2], (function_of(match[3]), match[1] == "r" or bool(match[4]))
