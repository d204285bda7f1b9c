# SPDX-License-Identifier: Apache-2.0
"""Kernel stacks by id, as folded text."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from functools import cached_property

import numpy as np

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import element
from memtrace.probes.sites.symbols import SymbolTable

# Frames between the traced function and our program: the tracepoint's and BPF's own.
_OURS = re.compile(r"0x|bpf_|__bpf_|__traceiter_|perf_trace_|trace_call_bpf|kprobe_|ftrace_|__ftrace_")

_STACK = np.dtype([("ip", "<u8", 127)])
"""An element of a stack map: PERF_MAX_STACK_DEPTH addresses, the rest zero."""
_LONGEST_FUNCTION = 1 << 20


def without_trampolines(names: list[str]) -> list[str]:
    """Return ``names`` (leaf first) with each function that fentry hooks named once.

    Such a function is on the stack twice: it calls the trampoline, which calls its body.
    """
    kept: list[str] = []
    for name in names:
        if len(kept) > 1 and kept[-1].startswith("0x") and kept[-2] == name:
            del kept[-1]
        else:
            kept.append(name)
    return kept


class Stacks:
    """Turns ids of the map mt_stacks into ``root;…;leaf``, and looks up each id once."""

    def __init__(self, module: Module, symbols: Callable[[], SymbolTable]) -> None:
        """``symbols`` is called once, by prepare() or for the first stack."""
        self._module = module
        self._symbols = symbols
        self._texts: dict[int, str | None] = {}

    def text(self, stack_id: int) -> str | None:
        """Return the folded frames of a stack, or None if the kernel no longer has it."""
        if stack_id not in self._texts:
            found = element(self._module, "mt_stacks", stack_id, _STACK)
            frames = [] if found is None else [address for address in found[0]["ip"].tolist() if address]
            names = [self._name(address) for address in frames]
            while names and _OURS.match(names[0]):
                del names[0]
            self._texts[stack_id] = ";".join(reversed(without_trampolines(names))) or None
        return self._texts[stack_id]

    def prepare(self) -> None:
        """Parse the symbols now instead of at the first text(), because that allocates."""
        self._name(0)

    @cached_property
    def _functions(self) -> tuple[list[int], list[str]]:
        found = sorted(
            (int(m.group(1), 16), m.group(2).decode())
            for m in re.finditer(rb"^([0-9a-f]+) [tTwW] (\S+)", self._symbols().text, re.M)
        )
        return [a for a, _ in found], [n for _, n in found]

    def _name(self, address: int) -> str:
        addresses, names = self._functions
        at = bisect.bisect_right(addresses, address) - 1
        # Code made at run time (BPF, trampolines) has no symbol, and the nearest one below is far away.
        near = at >= 0 and addresses[at] and address - addresses[at] < _LONGEST_FUNCTION
        return names[at] if near and names[at] != "_einittext" else f"{address:#x}"
