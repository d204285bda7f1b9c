# SPDX-License-Identifier: Apache-2.0
"""The kernel's text files below a root directory, so that a recorded tree reads like a live system.

Everything here answers None (or an empty value) for what cannot be read: whether
that means "no" or "unknown" is for the caller to say.
"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memtrace.traces.names import decoded

Root = str | Path

_KMSG_RECORD = re.compile(r"(\d+),(\d+),[^;]*;(.*)")
_SYSLOG_LINE = re.compile(r"(?:<(\d+)>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?(.*)")


def under(root: Root, path: str) -> Path:
    """Return ``path`` (absolute, as on a live system) below ``root``."""
    return Path(root) / path.lstrip("/")


def read_bytes(root: Root, path: str) -> bytes | None:
    """Return the content of ``path`` below ``root``; None if absent or not readable."""
    try:
        return under(root, path).read_bytes()
    except OSError:
        return None


def read_text(root: Root, path: str) -> str | None:
    """Return the content of ``path`` below ``root`` without surrounding white space; None if unreadable."""
    data = read_bytes(root, path)
    return None if data is None else decoded(data).strip()


def link(root: Root, path: str) -> str | None:
    """Return what the symbolic link ``path`` below ``root`` holds; None if there is none to read."""
    try:
        return str(under(root, path).readlink())
    except OSError:
        return None


def uname(root: Root, field: Literal["release", "version", "nodename", "machine"]) -> str:
    """Return a field of uname(2); for a recorded tree, what its /proc says, or "" without it.

    A kernel without CONFIG_SYSCTL has no /proc/sys, so the running kernel is asked by uname(2).
    """
    if Path(root) == Path("/"):
        return str(getattr(os.uname(), field))
    files = {"release": "osrelease", "nodename": "hostname", "machine": "arch"}
    return read_text(root, f"/proc/sys/kernel/{files.get(field, field)}") or ""


def exists(root: Root, path: str) -> bool:
    """Return whether ``path`` exists below ``root``; False where it may not be looked at."""
    try:
        return under(root, path).exists()
    except OSError:
        return False


def names(root: Root, path: str, pattern: str = "") -> list[str]:
    """Return the sorted names in the directory ``path`` that fully match ``pattern``.

    The list is empty if the directory cannot be listed.
    """
    try:
        found = [entry.name for entry in under(root, path).iterdir()]
    except OSError:
        return []
    return sorted(n for n in found if not pattern or re.fullmatch(pattern, n))


def counters(text: str) -> dict[str, int]:
    """Parse ``name value`` lines, as in /proc/vmstat, with integer values; other lines are skipped."""
    pairs = (line.split() for line in text.splitlines())
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].lstrip("-").isdigit()}


def option(cmdline: str, name: str) -> str | None:
    """Return the value of the last ``name=value`` on a kernel command line.

    It is "" for a bare name and None if the name is absent.  What follows ``--`` belongs
    to init; dash and underscore are the same (kernel/params.c: parse_args, parameq).
    """
    found = None
    for word in re.findall(r'(?:[^\s"]|"[^"]*")+', cmdline):
        if word == "--":
            break
        key, _, value = word.replace('"', "").partition("=")
        if key.replace("-", "_") == name.replace("-", "_"):
            found = value
    return found


def truth(text: str | None) -> bool | None:
    """Return what kstrtobool() makes of ``text`` (lib/kstrtox.c); None if it refuses it."""
    if not text:
        return None
    low = text.lower()
    if low[0] in "y1t" or low[:2] == "on":
        return True
    if low[0] in "n0f" or low[:2] == "of":
        return False
    return None


@dataclass(frozen=True)
class KernelLog:
    """Messages the kernel itself printed this boot, oldest first, without time stamps.

    ``complete`` says that the first message of the boot is still there, so that
    a line which is missing was never printed.
    """

    lines: tuple[str, ...] = ()
    complete: bool = False
    source: str = "kernel log"
    readable: bool = False

    def find(self, pattern: str) -> str | None:
        """Return the first line in which the regular expression ``pattern`` is found; None if none."""
        compiled = re.compile(pattern)
        return next((line for line in self.lines if compiled.search(line)), None)

    def why_silent(self) -> str:
        """Return in words what the absence of a line means."""
        if not self.readable:
            return "kernel log not readable"
        return f"{self.source} has no such line" + ("" if self.complete else ", but its start is lost")


def kernel_log(root: Root = "/") -> KernelLog:
    """Read the kernel log from /dev/kmsg below ``root``, else (live) from syslog(2); empty without both."""
    text = kmsg_text(root)
    if text is not None:
        return parse_kmsg(text)
    if Path(root) == Path("/"):
        text = syslog_text()
        if text is not None:
            return parse_syslog(text)
    return KernelLog()


def parse_kmsg(text: str) -> KernelLog:
    """Return the log in /dev/kmsg records (``priority,sequence,stamp,flags;text``).

    Records with a facility other than 0 were written by user space and are left out.
    """
    lines = []
    first = None
    for raw in text.splitlines():
        match = _KMSG_RECORD.match(raw)
        if match is None:
            continue
        if first is None:
            first = int(match[2])
        if int(match[1]) >> 3 == 0:
            lines.append(match[3])
    return KernelLog(tuple(lines), first == 0, "/dev/kmsg", True)


def parse_syslog(text: str) -> KernelLog:
    """Return the log in the lines of syslog(2) or dmesg(1)."""
    matches = [_SYSLOG_LINE.match(raw) for raw in text.splitlines()]
    lines = tuple(m[2] for m in matches if m and int(m[1] or 0) >> 3 == 0)
    return KernelLog(lines, bool(lines) and lines[0].startswith("Linux version "), "dmesg", True)


def kmsg_text(root: Root = "/") -> str | None:
    """Return all records of /dev/kmsg below ``root``; None if it cannot be read."""
    try:
        fd = os.open(under(root, "/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    records = []
    try:
        while True:
            try:
                record = os.read(fd, 8192)
            except BrokenPipeError:  # overwritten while reading: the next read goes on after the gap
                continue
            except BlockingIOError:
                break
            if not record:
                break
            records.append(record)
    except OSError:
        return None
    finally:
        os.close(fd)
    return decoded(b"".join(records))


def syslog_text() -> str | None:
    """Return the kernel log from syslog(2), as dmesg -r prints it; None if it is not allowed."""
    read_all, size_buffer = 3, 10
    libc = ctypes.CDLL(None, use_errno=True)
    size = libc.klogctl(size_buffer, None, 0)
    if size <= 0:
        return None
    buffer = ctypes.create_string_buffer(size)
    got = libc.klogctl(read_all, buffer, size)
    return None if got < 0 else decoded(buffer.raw[:got])
