# SPDX-License-Identifier: Apache-2.0
"""Kernel symbols: addresses and extents from /proc/kallsyms.

Names are resolved by prefix, so that a function renamed by the compiler
(``.part.0``, ``.isra.0``, ``.constprop.0``) is still found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_VARIANT = re.compile(rb"(?:\.(?:part|isra|constprop)\.\d+)*")


@dataclass(frozen=True)
class Symbol:
    """One symbol of the core kernel; ``end`` is the next symbol's address."""

    name: str
    address: int
    end: int


@dataclass(frozen=True)
class SymbolTable:
    """The text of a kallsyms file, which is searched without parsing every line."""

    text: bytes

    @classmethod
    def read(cls, path: Path = Path("/proc/kallsyms")) -> SymbolTable:
        """Return the running kernel's symbols; addresses are 0 where kptr_restrict hides them."""
        return cls(path.read_bytes())

    def names(self, stem: str) -> tuple[str, ...]:
        """Return which of ``stem`` and its compiler-made variants exist, in modules too, shortest first."""
        found = {
            name.decode()
            for line in self._lines(b" " + stem.encode())
            if _VARIANT.fullmatch((name := line.split(b" ", 2)[2].split(b"\t")[0])[len(stem) :])
        }
        return tuple(sorted(found, key=lambda n: (len(n), n)))

    def module_of(self, name: str) -> str | None:
        """Return the module that has the function ``name``; None if it is in the core kernel or nowhere."""
        for line in self._lines(b" " + name.encode() + b"\t["):
            return line.rsplit(b"[", 1)[1].rstrip(b"]").decode()
        return None

    def modules_of(self, names: Iterable[str | None]) -> dict[str, str]:
        """Return the module of each of these functions that is in one; None among ``names`` is skipped."""
        found = {name: self.module_of(name) for name in names if name}
        return {name: module for name, module in found.items() if module}

    def find(self, name: str) -> tuple[Symbol, ...]:
        """Return all core-kernel symbols of exactly this name (static functions may share one)."""
        found = []
        for line in self._lines(b" " + name.encode() + b"\n"):
            address = int(line.split(b" ", 1)[0], 16)
            found.append(Symbol(name, address, self._next_address(line, address)))
        return tuple(found)

    def one(self, name: str) -> Symbol | None:
        """Return the symbol of this name if there is exactly one and its address is known, else None."""
        found = self.find(name)
        return found[0] if len(found) == 1 and found[0].address else None

    def _lines(self, needle: bytes) -> list[bytes]:
        """Return the whole lines that hold ``needle``; bytes.find is 20 times as fast as a pattern here."""
        found = []
        position = self.text.find(needle)
        while position >= 0:
            start = self.text.rfind(b"\n", 0, position) + 1
            end = self.text.find(b"\n", position)
            found.append(self.text[start : end if end >= 0 else len(self.text)])
            position = self.text.find(needle, position + 1)
        return found

    def _next_address(self, line: bytes, address: int) -> int:
        """Return the first higher address after ``line``: kallsyms lists the core kernel in order.

        Returns ``address`` itself if none is found.
        """
        position = self.text.find(line) + len(line)
        for following in re.finditer(rb"^([0-9a-f]+) [a-zA-Z] ", self.text[position : position + 8192], re.M):
            if (value := int(following.group(1), 16)) > address:
                return value
        return address
