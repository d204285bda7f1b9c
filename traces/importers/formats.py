# SPDX-License-Identifier: Apache-2.0
"""The formats that can be imported, and telling which one a file has.

A format is a module with ``NAME``, ``recognise(head)`` (how many of the first
lines are its own) and ``parse(lines, given)``.  Adding one is adding a module
here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.traces.given import is_there
from memtrace.traces.importers import (
    bpftrace,
    dmesg,
    early,
    fpdt,
    kprobe_events,
    machine,
    perf_script,
    source,
    systemd,
    trace_cmd,
    tracefs,
)
from memtrace.traces.importers.parsed import Given, Parsed


@dataclass(frozen=True)
class Format:
    """How one kind of text is told and read."""

    name: str
    recognise: Callable[[list[str]], int]
    parse: Callable[[Iterable[str], Given], Parsed]


FORMATS: dict[str, Format] = {
    module.NAME: Format(module.NAME, module.recognise, module.parse)
    for module in (
        *(tracefs, trace_cmd, perf_script, bpftrace, dmesg, kprobe_events),
        *(fpdt, systemd, early, machine),
    )
}


CLOCKED = frozenset(module.NAME for module in (tracefs, trace_cmd, perf_script, bpftrace))
"""Formats of traces, which may not say what clock theirs is."""
LOG = dmesg.NAME
"""The one that may hold several boots."""


@dataclass(frozen=True)
class Input:
    """A file to import, and its format."""

    path: Path
    format: Format


def recognise(word: str) -> Input:
    """The file of ``FILE`` or ``FORMAT:FILE``, with its format.

    Raises MemtraceError if it cannot be read, or its format cannot be told.
    """
    name, colon, rest = word.partition(":")
    if colon and name in FORMATS and not is_there(word):
        path = Path(rest)
        source.head(path)
        return Input(path, FORMATS[name])
    if colon and re.fullmatch(r"[a-z_-]+", name) and not is_there(word) and is_there(rest):
        raise MemtraceError(f"there is no format {name!r}; give one of {', '.join(FORMATS)}", 2)
    path = Path(word)
    head = [line for line in source.head(path) if line.strip()]
    scores = sorted(((f.recognise(head), f) for f in FORMATS.values()), key=lambda pair: -pair[0])
    (best, format_), (second, other) = scores[:2]
    choices = ", ".join(FORMATS)
    if best == 0:
        raise MemtraceError(
            f"{path} is in no format that is known; say which it is, e.g. tracefs:{path} (out of {choices})"
        )
    if best == second:
        raise MemtraceError(
            f"{path} may be {format_.name} or {other.name}; say which, e.g. {format_.name}:{path}"
        )
    return Input(path, format_)
