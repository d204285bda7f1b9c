# SPDX-License-Identifier: Apache-2.0
"""The firmware's own record of the boot: ACPI FPDT, as the kernel shows it in sysfs.

Lines ``NAME VALUE`` of /sys/firmware/acpi/fpdt/boot/*_ns (drivers/acpi/acpi_fpdt.c):
nanoseconds since the end of reset.  The kernel's clock begins some time after
ExitBootServices returned; that gap nobody measures, so the end of ExitBootServices
is put at 0 (as systemd does), and the resolution is unknown.  What firmware
accepts for a kernel that cannot is inside ExitBootServices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memtrace.traces.importers.parsed import Given, Parsed
from memtrace.traces.run import Phase

NAME = "fpdt"
NAMES = (
    "firmware_start_ns",
    "bootloader_load_ns",
    "bootloader_launch_ns",
    "exitbootservice_start_ns",
    "exitbootservice_end_ns",
)
_LINE = re.compile(rf"({'|'.join(NAMES)})\s+(\d+)")


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return sum(bool(_LINE.fullmatch(line.strip())) for line in head)


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """The phases firmware and loader."""
    parsed = Parsed(NAME, clock="boot", clock_evidence="ExitBootServices' end taken as the kernel's start")
    values: dict[str, int] = {}
    for line in lines:
        parsed.lines += 1
        if match := _LINE.fullmatch(line.strip()):
            values[match[1]] = int(match[2])
            parsed.used += 1
        elif line.strip():
            parsed.not_understood(line)
        else:
            parsed.ignored += 1
    end = values.get("exitbootservice_end_ns")
    # A firmware that does not keep a time leaves 0 there.
    launch = values.get("bootloader_launch_ns") or values.get("bootloader_load_ns")
    if not end:
        parsed.notes.append("no end of ExitBootServices in it: firmware and loader have no place in time")
        return parsed
    start = values.get("exitbootservice_start_ns")
    took = f"; ExitBootServices took {(end - start) / 1e6:.3f} ms" if start else ""
    edge = launch - end if launch and launch <= end else None
    detail = ", ".join(f"{name} {value}" for name, value in values.items())
    parsed.phases = [
        Phase("firmware", -end, edge, NAME, None, detail=detail),
        Phase("loader", edge, 0, NAME, None, detail=f"{detail}{took}"),
    ]
    return parsed
