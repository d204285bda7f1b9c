# SPDX-License-Identifier: Apache-2.0
"""Memory sizes as QEMU and the kernel command line write them."""

from __future__ import annotations

import re

from memtrace.errors import MemtraceError

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MIB = 1 << 20
GIB = 1 << 30


def parse_size(text: str) -> int:
    """Bytes of "512M", "2G", "0"; MemtraceError (exit 2) for anything else."""
    found = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise MemtraceError(f"'{text}' is not a memory size: write it like 512M or 2G", 2)
    return int(found[1]) * UNITS[found[2].upper()]


def parse_sizes(text: str) -> tuple[int, ...]:
    """Bytes per NUMA node of "2G,2G", node 0 first."""
    return tuple(parse_size(part) for part in text.split(","))
