# SPDX-License-Identifier: Apache-2.0
"""systemd's time stamps of the boot: ``systemctl show``, lines ``NAME=VALUE``.

Microseconds of CLOCK_MONOTONIC, 0 where a stage did not happen; those of firmware
and loader are so long before the kernel's clock began (org.freedesktop.systemd1(5);
what systemd-analyze prints is their differences).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memtrace.traces.importers.parsed import Given, Parsed
from memtrace.traces.run import Phase

NAME = "systemd"
NAMES = (
    "FirmwareTimestampMonotonic",
    "LoaderTimestampMonotonic",
    "KernelTimestampMonotonic",
    "InitRDTimestampMonotonic",
    "UserspaceTimestampMonotonic",
    "FinishTimestampMonotonic",
)
_LINE = re.compile(r"([A-Za-z]+Timestamp\w*)=(.*)")
_NS = 1000
_RESOLUTION_NS = 1000


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return sum(bool(_LINE.fullmatch(line.strip())) for line in head)


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """The phases firmware, loader, initramfs and userspace."""
    parsed = Parsed(NAME, clock="mono", clock_evidence="systemd's CLOCK_MONOTONIC")
    values: dict[str, int] = {}
    for line in lines:
        parsed.lines += 1
        match = _LINE.fullmatch(line.strip())
        if match and match[1] in NAMES and match[2].isdigit():
            values[match[1].removesuffix("TimestampMonotonic")] = int(match[2]) * _NS
            parsed.used += 1
        elif match or not line.strip():
            parsed.ignored += 1
        else:
            parsed.not_understood(line)
    firmware, loader = values.get("Firmware"), values.get("Loader")
    if firmware:
        _add(parsed, "firmware", -firmware, -(loader or 0), None)
    if loader:
        _add(parsed, "loader", -loader, 0, None)
    initrd, userspace, finish = (values.get(name) or None for name in ("InitRD", "Userspace", "Finish"))
    if initrd:
        _add(parsed, "initramfs", initrd, userspace, _RESOLUTION_NS)
    if userspace:
        _add(parsed, "userspace", userspace, finish, _RESOLUTION_NS)
        if not finish:
            parsed.notes.append(
                "the boot had not finished when it was asked: the end of userspace is unknown"
            )
    return parsed


def _add(parsed: Parsed, name: str, start: int, end: int | None, resolution: int | None) -> None:
    edges = f"{start / 1e9:.6f} s to {'?' if end is None else f'{end / 1e9:.6f} s'}"
    parsed.phases.append(Phase(name, start, end, NAME, resolution, detail=f"systemctl show: {edges}"))
