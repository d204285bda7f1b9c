# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: no circle, no upward arrow, no module name twice in probes/, no long file."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {
    "machine": (),
    "programs": ("machine",),
    "workloads": ("machine",),
    "sites": ("machine", "programs", "workloads"),
    "topics": ("machine", "programs", "sites"),
    "recorder": ("machine", "programs", "sites", "topics", "workloads"),
    "boot": ("machine",),
}
"""Each room of probes/, and those that it may import."""
PACKAGES = {
    "traces": (),
    "analyzer": ("traces",),
    "probes": ("traces",),
    "lab": ("probes", "traces", "analyzer"),
    "commands": ("probes", "traces", "analyzer", "lab"),
}
SHARED = ("errors", "safe")
"""Modules of the top that all may import."""
LINES = {".py": 300, ".c": 500, ".h": 500}
"""The most lines of a file, by its suffix."""
REPEATED = frozenset(("view.py", "plot.py", "__init__.py", "__main__.py"))


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path, runtime: bool = False) -> Iterator[str]:
    """Dotted names that a module imports of memtrace; ``runtime``: but for those of TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if runtime and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("memtrace"):
            yield from (f"{node.module}.{alias.name}".removeprefix("memtrace.") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                a.name.removeprefix("memtrace.") for a in node.names if a.name.startswith("memtrace.")
            )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_probes_imports_those_below_it(room: str) -> None:
    for path in modules(f"probes/{room}"):
        for name in imported(path):
            package, _, rest = name.partition(".")
            if package == "probes":
                assert rest.split(".")[0] in (room, *ROOMS[room]), f"{path} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_those_below_it(package: str) -> None:
    for path in modules(package):
        for name in imported(path):
            assert name.split(".")[0] in (package, *PACKAGES[package], *SHARED, "__version__"), (
                f"{path} imports {name}"
            )


def test_no_name_of_a_module_of_probes_is_there_twice() -> None:
    names = Counter(path.name for path in modules("probes") if path.name not in REPEATED)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks", "tests"])
def test_no_file_is_too_long_to_be_read_at_one_go(package: str) -> None:
    files = (path for path in (ROOT / package).rglob("*") if path.suffix in LINES)
    lines = {str(path): len(path.read_text().splitlines()) for path in files}
    assert {path: n for path, n in lines.items() if n > LINES[Path(path).suffix]} == {}


def test_nothing_lies_outside_the_rooms() -> None:
    assert [path.name for path in (ROOT / "probes").glob("*.py")] == ["__init__.py"]


def test_each_room_says_what_it_is_and_what_it_imports() -> None:
    for room, below in ROOMS.items():
        doc = ast.get_docstring(ast.parse((ROOT / "probes" / room / "__init__.py").read_text())) or ""
        assert doc, room
        assert all(f"{name}/" in doc for name in below) or "every other room" in doc, room


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_over_others(package: str) -> None:
    known = {str(p.relative_to(ROOT).with_suffix("")).replace("/", "."): p for p in modules(package)}
    below: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for target in imported(path, runtime=True):
            below[name] |= {target, target.rpartition(".")[0]} & known.keys()
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for target in below[name] - {name}:
                visit(target, (*way, name))
            done.add(name)

    for name in known:
        visit(name, ())
