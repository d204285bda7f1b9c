# SPDX-License-Identifier: Apache-2.0
"""Paths of control groups by the id that BPF sees: the inode number of their directory (cgroup v2).

The programs keep a table of cgroup ids for each CPU (probes/bpf/common.h, mt_cgroup_slot()),
and a record holds a slot of its CPU's table.  The path is looked up when the row is written,
at most about a second later.
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
    """Return the directory where cgroup v2 is mounted, or None if it is not mounted."""
    found = re.search(r"^\S+ (\S+) cgroup2 ", read_text(root, "/proc/self/mounts") or "", re.M)
    return under(root, found[1]) if found else None


def paths(mount: Path) -> dict[int, str]:
    """Return the path of every existing cgroup from the mount's root, by inode number; the root is ``/``."""
    found = {}
    for folder, _, _ in os.walk(mount):
        # A cgroup may be removed while the tree is read.
        with contextlib.suppress(OSError):
            found[Path(folder).stat().st_ino] = escaped(folder.removeprefix(str(mount))) or "/"
    return found


class Cgroups:
    """Translates slots of the programs' tables into paths, and looks up each slot once.

    A cgroup that no longer exists, or that a namespace hides, is called ``<ID>``, so that
    two such cgroups remain distinct.
    """

    def __init__(self, module: Module, cpus: int, mount: Path | None) -> None:
        """Look up all cgroups that exist now, because they may be gone later.

        ``mount`` is None where cgroup v2 is not mounted.
        """
        self._module = module
        self._cpus = cpus
        self._mount = mount
        self._ids: dict[tuple[int, int], int] = {}
        self._paths = paths(mount) if mount else {}

    def text(self, cpu: int, slot: int) -> str | None:
        """Return the path of the cgroup in ``slot`` of the table of ``cpu``; None without cgroup v2."""
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
