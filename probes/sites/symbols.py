# SPDX-License-Identifier: Apache-2.0
"""Kernel symbols: addresses and extents from /proc/kallsyms.

Names are resolved by prefix, so that a function renamed by the compiler
(``.part.0``, ``.isra.0``, ``.constprop.0``) is still found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

_KEY_BYTES = 8
_VARIANT = re.compile(rb"(?:\.(?:part|isra|constprop)\.\d+)*")


@dataclass(frozen=True)
class Symbol:
    """One symbol of the core kernel; ``end`` is the next symbol's address."""

    name: str
    address: int
    end: int


@dataclass(frozen=True)
class SymbolTable:
    """The text of a kallsyms file, whose lines numpy sorts by name and no Python parses one by one."""

    text: bytes

    @classmethod
    def read(cls, path: Path = Path("/proc/kallsyms")) -> SymbolTable:
        """Return the running kernel's symbols; addresses are 0 where kptr_restrict hides them."""
        return cls(path.read_bytes())

    def names(self, stem: str) -> tuple[str, ...]:
        """Return which of ``stem`` and its compiler-made variants exist, in modules too, shortest first."""
        found = {
            name.decode()
            for start in self._starts(stem.encode())
            if _VARIANT.fullmatch((name := self._line(start).split(b"\t")[0])[len(stem) :])
        }
        return tuple(sorted(found, key=lambda n: (len(n), n)))

    def module_of(self, name: str) -> str | None:
        """Return the module that has the function ``name``; None if it is in the core kernel or nowhere."""
        for start in self._starts(name.encode() + b"\t["):
            return self._line(start).rsplit(b"[", 1)[1].rstrip(b"]").decode()
        return None

    def modules_of(self, names: Iterable[str | None]) -> dict[str, str]:
        """Return the module of each of these functions that is in one; None among ``names`` is skipped."""
        found = {name: self.module_of(name) for name in names if name}
        return {name: module for name, module in found.items() if module}

    def find(self, name: str) -> tuple[Symbol, ...]:
        """Return all core-kernel symbols of exactly this name (static functions may share one)."""
        found = []
        for start in self._starts(name.encode() + b"\n"):
            address = int(self.text[self.text.rfind(b"\n", 0, start) + 1 : start].split(b" ", 1)[0], 16)
            found.append(Symbol(name, address, self._next_address(start, address)))
        return tuple(found)

    def one(self, name: str) -> Symbol | None:
        """Return the symbol of this name if there is exactly one and its address is known, else None."""
        found = self.find(name)
        return found[0] if len(found) == 1 and found[0].address else None

    @cached_property
    def _index(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp]]:
        """The first eight bytes from each name on, big-endian and sorted; and where each name starts.

        Every address has the same number of digits (kernel/kallsyms.c: s_show).
        """
        data = np.frombuffer(self.text, dtype=np.uint8)
        starts = (
            np.concatenate(([0], np.flatnonzero(data == ord("\n")) + 1)) + self.text.find(b" ") + len(" t ")
        )
        starts = starts[starts < len(data)]
        key = np.zeros(len(starts), dtype=np.uint64)
        for place in range(_KEY_BYTES):
            key = key << np.uint64(8) | data[np.minimum(starts + place, len(data) - 1)]
        order = np.argsort(key, kind="stable")
        return key[order], starts[order]

    def _starts(self, beginning: bytes) -> list[int]:
        """Return where the names start that begin like this, with what follows them; in the text's order."""
        if not beginning or not self.text:
            return []
        keys, starts = self._index
        first, last = (
            np.uint64(int.from_bytes(beginning[:_KEY_BYTES].ljust(_KEY_BYTES, filler)))
            for filler in (b"\0", b"\xff")
        )
        low, high = np.searchsorted(keys, first), np.searchsorted(keys, last, side="right")
        return [at for at in sorted(starts[low:high].tolist()) if self.text.startswith(beginning, at)]

    def _line(self, start: int) -> bytes:
        """Return the rest of a line."""
        end = self.text.find(b"\n", start)
        return self.text[start : end if end >= 0 else len(self.text)]

    def _next_address(self, start: int, address: int) -> int:
        """Return the first higher address after a line: kallsyms lists the core kernel in order.

        Returns ``address`` itself if none is found.
        """
        for following in re.finditer(rb"^([0-9a-f]+) [a-zA-Z] ", self.text[start : start + 8192], re.M):
            if (value := int(following.group(1), 16)) > address:
                return value
        return address
