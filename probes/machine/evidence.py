# SPDX-License-Identifier: Apache-2.0
"""The sources that identify a platform: CPU, devices, registers and kernel log.  Nothing is judged here."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memtrace.probes.machine.settings import cpu_flags
from memtrace.probes.machine.sources import KernelLog, Root, kernel_log, read_text, under

Registers = tuple[int, int, int, int]
Cpuid = Callable[[int], "Registers | None"]
"""Returns eax, ebx, ecx, edx of a leaf (subleaf 0); None if it cannot be read."""

_MSR_SEV_STATUS = 0xC0010131


@dataclass(frozen=True)
class Machine:
    """What the sources hold.  ``cpuid`` and ``detect_virt`` read on each call; the rest is read once."""

    root: Root
    log: KernelLog
    cpuinfo: str | None
    cpuid: Cpuid
    sev_status: int | None
    """Value of MSR 0xC0010131; None if it cannot be read."""
    detect_virt: Callable[[str], str | None]
    """Returns what systemd-detect-virt answers to one option; None if it gives no answer."""

    @property
    def flags(self) -> frozenset[str] | None:
        return cpu_flags(self.cpuinfo)

    @property
    def vendor(self) -> str | None:
        match = re.search(r"^vendor_id\s*: (\S+)", self.cpuinfo or "", re.MULTILINE)
        return match[1] if match else None

    @property
    def other_architecture(self) -> bool:
        """Whether /proc/cpuinfo could be read and lists no x86 flags."""
        return bool(self.cpuinfo) and self.flags is None


def observe(root: Root = "/", log: KernelLog | None = None) -> Machine:
    """Read the sources below ``root``; systemd-detect-virt is asked on the live system only."""
    live = Path(root) == Path("/")
    return Machine(
        root=root,
        log=kernel_log(root) if log is None else log,
        cpuinfo=read_text(root, "/proc/cpuinfo"),
        cpuid=lambda leaf: read_cpuid(under(root, "/dev/cpu/0/cpuid"), leaf),
        sev_status=read_msr(under(root, "/dev/cpu/0/msr"), _MSR_SEV_STATUS),
        detect_virt=detect_virt if live else lambda _: None,
    )


def read_cpuid(path: Path, leaf: int) -> Registers | None:
    """Return eax, ebx, ecx, edx of a CPUID leaf (subleaf 0) from /dev/cpu/N/cpuid; None if unreadable."""
    data = _pread(path, 16, leaf)
    return None if data is None else struct.unpack("<IIII", data)


def read_msr(path: Path, number: int) -> int | None:
    """Return an MSR from /dev/cpu/N/msr; None if it cannot be read or the CPU has none of that number."""
    data = _pread(path, 8, number)
    return None if data is None else int(struct.unpack("<Q", data)[0])


def _pread(path: Path, size: int, offset: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.pread(fd, size, offset)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) == size else None


def detect_virt(option: str) -> str | None:
    """Return what ``systemd-detect-virt OPTION`` prints.

    None means that it is not installed, did not answer in 5 s or does not know the option.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["systemd-detect-virt", option], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
