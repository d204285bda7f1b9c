# SPDX-License-Identifier: Apache-2.0
"""The kernel's log, from dmesg (plain, -x, -t, -T, --time-format iso) or journalctl -k.

Stamps are printk's: local_clock() (kernel/sched/clock.c), which begins at 0 when
the TSC's rate becomes known: lines before that say 0.000000, which is unknown,
not zero.  ``boot_log`` reads what the lines say.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

from memtrace.errors import MemtraceError
from memtrace.traces.importers import boot_log
from memtrace.traces.importers.boot_log import Line
from memtrace.traces.importers.parsed import Given, Parsed

NAME = "dmesg"

_LEVEL = r"(?:<\d+>|\w+ *:\w+ *: )?"
_STAMPED = re.compile(_LEVEL + r"\[ *(\d+)\.(\d{6})\](?:\[ *[TC]\d+\])? (?:\S+ kernel: )?(.*)")
_HUMAN = re.compile(_LEVEL + r"\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\] (.*)")
_ISO = re.compile(
    _LEVEL + r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[,.](\d{6}))?(?:[+-]\d\d:?\d\d|Z)? (?:\S+ kernel: )?(.*)"
)
_JOURNAL = re.compile(r"(\w{3} \d\d \d\d:\d\d:\d\d) \S+ kernel: (.*)")
_INTERLEAVED = re.compile(r"\[ {0,4}\d+\.\d{6}\] ")
_BANNER = re.compile(r"Linux version (\S+)")
_CONTINUED = re.compile(r"[ \t]")
_YEAR = "2000 "


def recognise(head: list[str]) -> int:
    """How many of the first lines are of a kernel log."""
    forms = (_STAMPED, _HUMAN, _ISO, _JOURNAL)
    known = sum(any(form.match(line) for form in forms) for line in head)
    # Without stamps only what the lines say tells.
    if not known and any(_BANNER.match(line) for line in head):
        return len(head)
    return known


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """Reads all lines; of a log of several boots the last one, or that of ``given.boot``."""
    parsed = Parsed(NAME, clock="printk", clock_evidence="stamps of the kernel log")
    boots: list[list[Line]] = [[]]
    stamps = _Stamps()
    for raw in lines:
        parsed.lines += 1
        line = stamps.read(raw.rstrip("\r\n"))
        if line is None:
            if not raw.strip() or (stamps.any and _CONTINUED.match(raw)) or raw.startswith("-- "):
                parsed.ignored += 1
            else:
                parsed.not_understood(raw)
            continue
        parsed.ignored += 1
        if _BANNER.match(line.text) and any(_BANNER.match(old.text) for old in boots[-1]):
            boots.append([])
        boots[-1].append(line)
    chosen = _choose(boots, given, parsed)
    parsed.clock, parsed.clock_evidence = stamps.clock()
    used = boot_log.read(chosen, parsed, stamps.resolution_ns)
    parsed.used, parsed.ignored = used, parsed.ignored - used
    return parsed


def _choose(boots: list[list[Line]], given: Given, parsed: Parsed) -> list[Line]:
    """The lines of one boot."""
    count = len(boots)
    number = count if given.boot is None else given.boot
    if not 1 <= number <= count:
        several = "s" * (count != 1)
        raise MemtraceError(f"--boot {number}: the log has {count} boot{several}; give 1 to {count}", 2)
    if count > 1:
        parsed.notes.append(
            f'the log has {count} boots (as many times "Linux version"): boot {number} was read'
            + ("" if given.boot else ", the last; --boot picks another")
        )
    return boots[number - 1]


class _Stamps:
    """Reads the stamp of a line, in whichever form the file has it."""

    def __init__(self) -> None:
        self.any = False
        self.resolution_ns = 1000
        self._form = ""
        self._first: datetime.datetime | None = None

    def read(self, text: str) -> Line | None:
        """A line with its stamp; None if it has another form than the lines before."""
        if match := _STAMPED.match(text):
            if _INTERLEAVED.search(match[3]):
                return None
            self._is("stamped")
            ns = int(match[1] + match[2]) * 1000
            return Line(ns or None, match[3], text)
        if match := _HUMAN.match(text):
            return self._wall("human", match[1], "%a %b %d %H:%M:%S %Y", "", match[2], text)
        if match := _ISO.match(text):
            return self._wall("iso", match[1], "%Y-%m-%dT%H:%M:%S", match[2] or "", match[3], text)
        if match := _JOURNAL.match(text):
            return self._wall("journal", _YEAR + match[1], "%Y %b %d %H:%M:%S", "", match[2], text)
        if self.any and self._form != "plain":
            return None
        if not text.strip():
            return None
        self._is("plain")
        return Line(None, text, text)

    def clock(self) -> tuple[str, str]:
        """Name and evidence of the file's clock."""
        return {
            "stamped": ("printk", "stamps of the kernel log"),
            "iso": ("printk", "times of day less that of the first line"),
            "human": ("printk", "times of day to the second, less that of the first line"),
            "journal": ("printk", "times of day to the second, less that of the first line"),
        }.get(self._form, ("none", "the log has no stamps (dmesg -t, or printk.time=0)"))

    def _is(self, form: str) -> None:
        self.any = True
        self._form = self._form or form

    def _wall(self, form: str, when: str, layout: str, micros: str, rest: str, text: str) -> Line | None:
        try:
            moment = datetime.datetime.strptime(when, layout)
        except ValueError:
            return None
        self._is(form)
        if micros:
            moment = moment.replace(microsecond=int(micros))
        else:
            self.resolution_ns = 10**9
        # printk's first stamp is 0, so the first line gives the time of day of its clock's start.
        if self._first is None or _BANNER.match(rest):
            self._first = moment
        ns = (moment - self._first) // datetime.timedelta(microseconds=1) * 1000
        return Line(ns or None, rest, text)
