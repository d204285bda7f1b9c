# SPDX-License-Identifier: Apache-2.0
"""Recorded machines: their files, laid out as trees that the probes read instead of /, and their symbols."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from memtrace.probes.sites import code
from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.sites.symbols import Symbol, SymbolTable
from memtrace.probes.sites.system import System

MACHINES = Path(__file__).parent / "machines"
DATA = Path(__file__).parent / "data"
"""Symbols, traceable functions and texts of kernels, a folder each."""

Machine = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Writes ``{path: text}`` below a temporary root; a path ending in / becomes a directory."""

    def write(files: Mapping[str, str]) -> Path:
        for path, text in files.items():
            target = tmp_path / path.lstrip("/")
            if path.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def machine(tree: Callable[[Mapping[str, str]], Path]) -> Machine:
    """Root of a recorded machine, with ``changes`` to its files; a file changed to None is absent."""

    def lay_out(name: str, changes: Mapping[str, str | None] | None = None) -> Path:
        files: dict[str, str | None] = json.loads((MACHINES / f"{name}.json").read_text())
        files.update(changes or {})
        return tree({path: text for path, text in files.items() if text is not None})

    return lay_out


class Recorded(System):
    """A system whose symbols and traceable functions were read from a real kernel."""

    kernel: str
    btf: Btf | None = None

    @property
    def symbols(self) -> SymbolTable:
        return SymbolTable((DATA / self.kernel / "kallsyms").read_bytes())

    @property
    def filter_functions(self) -> bytes:
        return (DATA / self.kernel / "available_filter_functions").read_bytes()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., System]:
    """``recorded(kernel, **config)``: the system of a recorded kernel, with the text of its functions."""

    def make(kernel: str, **config: str) -> System:
        def text(symbol: Symbol, path: Path = Path()) -> bytes | None:
            file = DATA / kernel / f"{symbol.name}.text"
            return file.read_bytes() if file.exists() else b""

        monkeypatch.setattr(code, "read_text", text)
        named = type(kernel, (Recorded,), {"kernel": kernel})
        return named(True, False, config)  # type: ignore[no-any-return]

    return make


def sites(ladder: Ladder) -> list[str]:
    """What a ladder would try, best first."""
    return [candidate.site for candidate in ladder.candidates]
