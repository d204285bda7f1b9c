# SPDX-License-Identifier: Apache-2.0
"""How this memtrace was called, and how it calls itself: as a command, a module, or one file (a bundle)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import memtrace


def bundle() -> Path | None:
    """Return the one file that this memtrace runs from (`memtrace bundle`), or None."""
    spec = memtrace.__spec__
    archive = getattr(spec.loader, "archive", None) if spec is not None else None
    return None if archive is None else Path(archive).absolute()


def module(name: str) -> tuple[str, ...]:
    """Return the beginning of a command that runs a module of memtrace, such as ``memtrace.cli``."""
    file = bundle()
    return (sys.executable, "-m", name) if file is None else (sys.executable, str(file), "-m", name)


def program() -> tuple[str, ...]:
    """Return the beginning of a command that runs memtrace from anywhere, as a unit can name it."""
    if bundle() is None:
        found = shutil.which(sys.argv[0])
        if found and Path(found).name == "memtrace":
            return (str(Path(found).absolute()),)
    return module("memtrace.cli")


def called() -> list[str]:
    """Return how memtrace was called, its program by full path.

    That is ``memtrace record`` if it was not called as a command.
    """
    file, first = bundle(), Path(sys.argv[0])
    if file is not None:
        return [sys.executable, str(file), *sys.argv[1:]]
    if first.name == "cli.py":
        return [sys.executable, "-m", "memtrace.cli", *sys.argv[1:]]
    if first.name == "memtrace":
        found = first if first.exists() else Path(shutil.which("memtrace") or first)
        return [str(found.absolute()), *sys.argv[1:]]
    return [shutil.which("memtrace") or "memtrace", "record"]
