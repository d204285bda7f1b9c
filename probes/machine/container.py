# SPDX-License-Identifier: Apache-2.0
"""What a container's runtime may have put between this process and the kernel."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable

from memtrace.probes.machine.sources import Root, read_text, under
from memtrace.traces.run import Fact

CAPABILITIES = ("BPF", "PERFMON", "SYSLOG", "DAC_READ_SEARCH", "SYS_RAWIO")
"""What a container must be given for everything to be seen, as its runtime names them."""
_SECCOMP = {"0": "no", "1": "strict", "2": "filter"}


def container_facts(root: Root = "/") -> tuple[Fact, ...]:
    """Return whether a seccomp filter is on this process, and whether /proc/kcore is what it should be."""
    return seccomp(root), kcore(root)


def seccomp(root: Root = "/") -> Fact:
    """Return ``no``, ``strict`` or ``filter``, as /proc/self/status has it; ``unknown`` if it does not."""
    found = re.search(r"^Seccomp:\t(\d)$", read_text(root, "/proc/self/status") or "", re.M)
    if found is None:
        return Fact("seccomp", "unknown", "/proc/self/status does not tell")
    return Fact("seccomp", _SECCOMP.get(found[1], "unknown"), f"/proc/self/status: Seccomp {found[1]}")


def kcore(root: Root = "/") -> Fact:
    """Return whether there is a /proc/kcore: ``yes``, ``no``, or ``hidden`` if something lies over it.

    Runtimes mount /dev/null over it, or take the file away with all of its /proc.
    """
    path = under(root, "/proc/kcore")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Fact("kcore", "no", "no /proc/kcore")
    except OSError as error:
        return Fact("kcore", "unknown", f"/proc/kcore: {error.strerror}")
    if not stat.S_ISREG(mode):
        return Fact("kcore", "hidden", "/proc/kcore is a device, which lies over the kernel's")
    return Fact("kcore", "yes", "/proc/kcore")


def run_command(facts: Iterable[Fact]) -> str:
    """Return the options for a container's runtime that give all that recording uses."""
    given = [f"--cap-add={name}" for name in CAPABILITIES]
    if any(fact.name == "kcore" and fact.value == "hidden" for fact in facts):
        given.append("--security-opt systempaths=unconfined")
    return f"docker run {' '.join(given)} -v /sys/kernel/tracing:/sys/kernel/tracing:ro IMAGE"
