# SPDX-License-Identifier: Apache-2.0
"""What the choice of boot parameters depends on, read from the running kernel."""

from __future__ import annotations

import re

from memtrace.probes.boot.parameters import FUNCTIONS, Kernel, traceable
from memtrace.probes.machine import tracefs
from memtrace.probes.machine.kernel import SystemDescription
from memtrace.probes.machine.sources import exists, read_bytes, read_text

_EDGES = ("_sinittext", "_einittext")


def kernel(description: SystemDescription) -> Kernel:
    """Describe the running kernel; without privileges more of it stays unknown, and nothing fails."""
    files = tracefs.read(("available_filter_functions", "available_tracers"))
    filter_functions, tracers = files.get("available_filter_functions"), files.get("available_tracers")
    config = dict(description.config)
    if tracers is not None and b"function" not in tracers.split():
        config["CONFIG_FUNCTION_TRACER"] = "n"
    symbols = _symbols(read_bytes("/", "/proc/kallsyms") or b"")
    init = (symbols.get(_EDGES[0], 0), symbols.get(_EDGES[1], 0))
    facts = {fact.name: fact.value for fact in description.facts}
    accept = facts.get("accept_memory", "unknown")
    return Kernel(
        functions=tuple(traceable(name, filter_functions, symbols, init) for name in FUNCTIONS),
        config=config,
        cpus=max(description.cpus, 1),
        memory_bytes=_memory_bytes(),
        efi=exists("/", "/sys/firmware/efi"),
        accepts={"not built in": False, "unknown": None}.get(accept, True),
        x86=description.machine == "x86_64",
    )


def _symbols(kallsyms: bytes) -> dict[str, int]:
    """Return the addresses by name of the functions that might be traced and of _EDGES; 0 where hidden."""
    names = "|".join((*FUNCTIONS, *_EDGES))
    found = re.findall(rf"^([0-9a-f]+) [tTwW] ({names})$".encode(), kallsyms, re.MULTILINE)
    return {name.decode(): int(address, 16) for address, name in found}


def _memory_bytes() -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", read_text("/", "/proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None
