# SPDX-License-Identifier: Apache-2.0
"""Call sites: where a traceable function calls one that refuses probes.

The kernel's text is read from /proc/kcore as it runs now (alternatives patched
in).  A near call is ``e8`` and a 32-bit displacement; a byte that only looks
like one would have to name the target exactly, and the kernel checks the
instruction boundary once more when a kprobe is set there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from memtrace.probes.symbols import Symbol

CALL_BYTES = 5
_PT_LOAD = 1


@dataclass(frozen=True)
class CallSite:
    """``call target`` at ``function + offset``."""

    function: str
    offset: int
    target: str


def read_text(symbol: Symbol, path: Path = Path("/proc/kcore")) -> bytes | None:
    """The machine code of a kernel function, or None where kcore is not readable."""
    try:
        with path.open("rb", buffering=0) as core:
            header = core.read(64)
            if header[:4] != b"\x7fELF":
                return None
            offset, count = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<H", header, 56)[0]
            core.seek(offset)
            segments = core.read(56 * count)
            for i in range(count):
                kind, _, at, virtual, _, _, size, _ = struct.unpack_from("<IIQQQQQQ", segments, 56 * i)
                if kind == _PT_LOAD and virtual <= symbol.address and symbol.end <= virtual + size:
                    core.seek(at + symbol.address - virtual)
                    return core.read(symbol.end - symbol.address)
    except OSError:
        pass
    return None


def find_calls(code: bytes, symbol: Symbol, targets: dict[int, str]) -> tuple[CallSite, ...]:
    """Calls in ``code`` (the text of ``symbol``) to any of ``targets`` (address -> name)."""
    found = []
    at = code.find(b"\xe8")
    while 0 <= at <= len(code) - CALL_BYTES:
        (displacement,) = struct.unpack_from("<i", code, at + 1)
        target = targets.get(symbol.address + at + CALL_BYTES + displacement)
        if target is not None:
            found.append(CallSite(symbol.name, at, target))
        at = code.find(b"\xe8", at + 1)
    return tuple(found)
