# SPDX-License-Identifier: Apache-2.0
"""Control groups by the id that BPF sees: the inode number of their directory (cgroup v2).

The programs keep, for each CPU, a table of the ids they met (probes/bpf/common.h,
mt_cgroup_slot()); a record has a place in it.  The path is looked up when the row is
written, at most about a second later.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import numpy as np

from memtrace.probes.machine.sources import Root, read_text, under
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import percpu
from memtrace.traces.names import escaped

_ID = np.dtype("<u8")


def mount_point(root: Root = "/") -> Path | None:
    """Where the cgroup v2 hierarchy is mounted, None if it is not."""
    found = re.search(r"^\S+ (\S+) cgroup2 ", read_text(root, "/proc/self/mounts") or "", re.M)
    return under(root, found[1]) if found else None


def paths(mount: Path) -> dict[int, str]:
    """Path from the mount's root of every cgroup there is, by inode number; the root itself is ``/``."""
    found = {}
    for folder, _, _ in os.walk(mount):
        # One may go while the tree is read.
        with contextlib.suppress(OSError):
            found[Path(folder).stat().st_ino] = escaped(folder.removeprefix(str(mount))) or "/"
    return found


class Cgroups:
    """Turns places in the programs' tables into paths; each is looked up once.

    A cgroup that is gone, or that a namespace hides, is called ``<ID>``, so that two of
    them stay two.
    """

    def __init__(self, module: Module, cpus: int, mount: Path | None) -> None:
        """The cgroups that exist now are looked up at once: they may be gone later."""
        self._module = module
        self._cpus = cpus
        self._mount = mount
        self._ids: dict[tuple[int, int], int] = {}
        self._paths = paths(mount) if mount else {}

    def text(self, cpu: int, slot: int) -> str | None:
        """Path of the cgroup at ``slot`` of the table of ``cpu``; None without cgroup v2."""
        if self._mount is None:
            return None
        if (cpu, slot) not in self._ids:
            values = percpu(self._module, "mt_cgroups", slot, _ID, self._cpus)
            self._ids |= {(number, slot): int(value) for number, value in enumerate(values) if value}
        return self._path(self._ids[cpu, slot])

    def _path(self, number: int) -> str:
        if number not in self._paths and self._mount is not None:
            self._paths = paths(self._mount) | self._paths
        return self._paths.setdefault(number, f"<{number}>")
