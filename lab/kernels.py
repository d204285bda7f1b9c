# SPDX-License-Identifier: Apache-2.0
"""The kernels that guests can boot.  Another one is one more entry of KERNELS, and its series in stock.py.

Each is prepared once and kept in the cache: unpacked or built, with the ELF vmlinux
taken out of its bzImage where that can be started directly, and with its modules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import acceptance, cache, own, stock
from memtrace.lab.needs import For, require
from memtrace.lab.ready import Kernel, finish, load

__all__ = ["KERNELS", "READY_MADE", "Entry", "Kernel", "check", "prepare"]

READY_MADE = "MEMTRACE_LAB_KERNEL"


@dataclass(frozen=True)
class Entry:
    """One kernel of the list, made of the packages that its name is pinned to.

    needs    what the host must have to make it
    build    makes boot/ and perhaps lib/modules/ in an empty folder
    inputs   the project's own files that decide what is built
    """

    name: str
    what: str
    needs: tuple[For, ...]
    build: Callable[[stock.Packages, Path], None]
    inputs: tuple[Path, ...] = ()

    @property
    def kind(self) -> str:
        """Of the cache's entries, those that hold this kernel."""
        return f"kernels/{self.name}"


def debian_image(name: str, what: str) -> Entry:
    """A kernel of Debian's, which is unpacked."""

    def build(packages: stock.Packages, folder: Path) -> None:
        stock.fetch(packages, folder)

    return Entry(name, what, (For.KERNEL,), build)


def emulated_acceptance(name: str, what: str) -> Entry:
    """A kernel with emulated acceptance, which is built unless one is ready-made."""
    series = name.removeprefix("accept-")

    def build(packages: stock.Packages, folder: Path) -> None:
        acceptance.build(series, packages[0], folder / "boot")

    needs = (For.KERNEL, For.WORKLOAD, For.BUILD)
    return Entry(name, what, needs, build, acceptance.inputs(series))


KERNELS = (
    debian_image("debian-6.1", "Debian 12's kernel"),
    debian_image("debian-6.12", "Debian 12's newer kernel"),
    debian_image("debian-7.3", "Debian's newest kernel, from its backports"),
    emulated_acceptance("accept-6.12", "6.12 with emulated acceptance, runs guest_memfd"),
    emulated_acceptance("accept-7.3", "7.3 with emulated acceptance, runs guest_memfd"),
)


def ready_made(name: str) -> Path | None:
    """The file that $MEMTRACE_LAB_KERNEL names for this kernel, None where it names none.

    NAME=PATH, or several with colons between them; a path alone is accept-6.12's.
    """
    value = os.environ.get(READY_MADE)
    if not value:
        return None
    can_be = [entry.name for entry in KERNELS if entry.inputs]
    files = {}
    for item in re.split(r":(?=[\w.-]+=)", value):
        named = re.fullmatch(r"([\w.-]+)=(.+)", item)
        files[named[1] if named else can_be[0]] = Path(named[2] if named else item)
    wrong = sorted(files.keys() - set(can_be))
    if wrong:
        raise MemtraceError(f"{READY_MADE} can name {' and '.join(can_be)}, not '{wrong[0]}'", 2)
    return files.get(name)


def prepared(entry: Entry, any_version: bool = False) -> Kernel | None:
    """A kernel of the list if it is prepared, in its pinned version or in any."""
    path = ready_made(entry.name)
    if path:
        return own.from_file(entry.name, path)
    folder = stock.prepared(entry.kind, entry.name, *entry.inputs)
    if folder is None and any_version:
        folder = cache.newest(entry.kind)
    return load(entry.name, folder) if folder else None


def _prepare(entry: Entry) -> Kernel:
    path = ready_made(entry.name)
    if path:
        return own.from_file(entry.name, path)

    def build(packages: stock.Packages, folder: Path) -> None:
        require(*entry.needs)
        entry.build(packages, folder)
        finish(folder)

    return load(entry.name, stock.entry(entry.kind, entry.name, build, *entry.inputs))


def check(name: str) -> None:
    """Raise MemtraceError (exit 2) if no kernel has this name, and no file or folder."""
    if name not in {entry.name for entry in KERNELS} and not own.paths_of(name):
        known = ", ".join(entry.name for entry in KERNELS)
        raise MemtraceError(f"'{name}' is neither a kernel of the list ({known}) nor a file", 2)


def prepare(name: str) -> Kernel:
    """A kernel of the list, or the user's own file or folder, ready to boot.

    Raises MemtraceError where the name is neither, or where it cannot be prepared.
    """
    for entry in KERNELS:
        if entry.name == name:
            return _prepare(entry)
    check(name)
    return own.prepare(name, own.paths_of(name))
