# SPDX-License-Identifier: Apache-2.0
"""Which PID namespace this process is in.

In one of its own, as in a container, processes have other numbers than those the kernel tells
to BPF programs (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from memtrace.probes.machine.sources import Root, link, names
from memtrace.traces.run import Fact

_INITIAL = 0xEFFFFFFC
"""PROC_PID_INIT_INO, include/linux/proc_ns.h: the inode of the initial namespace."""


def pid_namespace(root: Root = "/") -> Fact:
    """Return whether this process is in the ``initial`` PID namespace or in one of its ``own``."""
    target = link(root, "/proc/self/ns/pid")
    if target is None and names(root, "/proc/self/ns", "mnt"):
        return Fact("pid_namespace", "initial", "this kernel has no PID namespaces")
    if target is None:
        return Fact("pid_namespace", "unknown", "/proc/self/ns/pid cannot be read")
    found = re.fullmatch(r"pid:\[(\d+)\]", target)
    initial = found is not None and int(found[1]) == _INITIAL
    return Fact("pid_namespace", "initial" if initial else "own", f"/proc/self/ns/pid: {target}")


def proc_is_ours() -> bool:
    """Return whether /proc shows the numbers of this process's PID namespace."""
    try:
        return str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False
