# SPDX-License-Identifier: Apache-2.0
"""Call sites: where a traceable function calls one that refuses probes.

The kernel's text is read from /proc/kcore as it runs now (alternatives patched
in).  A near call is ``e8`` and a 32-bit displacement; a byte that only looks
like one would have to name the target exactly, and the kernel checks the
instruction boundary once more when a kprobe is set there.

With ``retbleed=stuff`` the kernel counts the depth of calls (arch/x86/kernel/callthunks.c): it
points each call at a thunk that it wrote into the padding before the function, and that
runs on into it.  Such a call is one of the function.

From 7.0 on clear_pages() (arch/x86/include/asm/page_64.h) is inlined as seven bytes:
a call where the CPU has no fast string instructions, else the string instruction
itself, padded with a nop if it is shorter.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from memtrace.probes.sites.symbols import Symbol

CALL_BYTES = 5
INLINED = "clear_pages"
"""``target`` of a site where clear_pages() is inlined."""
_CLEARS = {b"\xf3\xaa\x0f\x1f\x44\x00\x00": 2, b"\x48\xc1\xe9\x03\xf3\x48\xab": 7}
"""What clear_pages() is at run time, and how many bytes of it come before the nop.

The two forms are ``rep stosb``, and ``shr $3,%rcx; rep stosq``.
"""
_PT_LOAD = 1
_PADDING = 32
"""Bytes before a function that may hold its thunk: at most CONFIG_FUNCTION_PADDING_BYTES."""
_THUNK = re.compile(
    rb"\x65\x48\xc1(?:\x3c\x25|\x3d).{4}\x05(?:\x65\x48\xff(?:\x04\x25|\x05).{4})?\Z", re.DOTALL
)
"""``sarq $5, %gs:call_depth``, absolute or relative to %rip, and with CONFIG_CALL_THUNKS_DEBUG ``incq``.

INCREMENT_CALL_DEPTH, arch/x86/include/asm/nospec-branch.h.
"""


@dataclass(frozen=True)
class CallSite:
    """``call target`` at ``function + offset``, or ``target`` inlined there."""

    function: str
    offset: int
    target: str
    length: int = CALL_BYTES
    """Bytes of the call or of the inlined code; the instruction behind them is the return."""


def read_text(symbol: Symbol, path: Path = Path("/proc/kcore")) -> bytes | None:
    """Return the machine code of a kernel function, or None where kcore is not readable."""
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


def thunk_in(padding: bytes, address: int) -> int | None:
    """Return the address of the call thunk in the ``padding`` that ends at ``address``, or None."""
    found = _THUNK.search(padding)
    return None if found is None else address - (len(padding) - found.start())


def thunk_of(symbol: Symbol) -> int | None:
    """Return the address of the call thunk before a kernel function; None if it has none."""
    before = Symbol(f"{symbol.name} (padding)", symbol.address - _PADDING, symbol.address)
    return thunk_in(read_text(before) or b"", symbol.address)


def find_calls(
    code: bytes, symbol: Symbol, targets: dict[int, str], opcode: bytes = b"\xe8"
) -> tuple[CallSite, ...]:
    """Return the calls in ``code`` (the text of ``symbol``) to any of ``targets`` (address -> name).

    ``opcode`` e9 finds jumps instead.
    """
    found = []
    at = code.find(opcode)
    while 0 <= at <= len(code) - CALL_BYTES:
        (displacement,) = struct.unpack_from("<i", code, at + 1)
        target = targets.get(symbol.address + at + CALL_BYTES + displacement)
        if target is not None:
            found.append(CallSite(symbol.name, at, target))
        at = code.find(opcode, at + 1)
    return tuple(found)


def goes_to(code: bytes, symbol: Symbol, target: int) -> bool:
    """Return whether ``code`` (the text of ``symbol``) calls ``target``, or ends in a jump to it."""
    return any(find_calls(code, symbol, {target: ""}, opcode) for opcode in (b"\xe8", b"\xe9"))


def find_clears(code: bytes, symbol: Symbol) -> tuple[CallSite, ...]:
    """Return the sites in ``code`` where clear_pages() is inlined, by offset.

    ``%rdi`` holds the address there, and ``%rcx`` the number of bytes.
    """
    found = []
    for pattern, length in _CLEARS.items():
        at = code.find(pattern)
        while at >= 0:
            found.append(CallSite(symbol.name, at, INLINED, length))
            at = code.find(pattern, at + len(pattern))
    return tuple(sorted(found, key=lambda site: site.offset))
