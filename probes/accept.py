# SPDX-License-Identifier: Apache-2.0
"""accept.call: acceptance of memory in TDX and SEV-SNP guests (6.5 on).

One call of accept_memory() (drivers/firmware/efi/unaccepted_memory.c), from entry
to return: waiting for overlapping calls and the accept itself.  ``bytes`` is the
range asked for; what is accepted may be less (units accepted before) or more (the
guard unit behind a range that ends on a unit).
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.functions import function_ladder
from memtrace.probes.ladder import Ladder
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

EVENTS = ("accept.call",)
SOURCE = "accept"
SITES = ("MT_SITE_ACCEPT_FENTRY", "MT_SITE_ACCEPT_KPROBE")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """accept.call by fentry/fexit or kprobe/kretprobe; no tracepoint exists."""
    ladder = function_ladder(
        system,
        "accept.call",
        ("accept_memory",),
        "MT_FN_ACCEPT",
        "MT_SITE_ACCEPT",
        "mt_accept",
        "pfn: start; bytes: the range asked for (argument named end or size in BTF); nid: page flags",
    )
    if system.config.get("CONFIG_UNACCEPTED_MEMORY") == "n":
        missing = Refusal("accept_memory", "config missing", "CONFIG_UNACCEPTED_MEMORY is not set")
        return (dataclasses.replace(ladder, candidates=(), ruled_out=(missing,)),)
    parameters = system.btf.parameters("accept_memory") if system.btf else None
    if parameters is None:
        # "end" became "size" in 6.12 (5adfeaecc487): without names the argument means nothing.
        unknown = Refusal("accept_memory", "absent", "no BTF to tell whether the argument is end or size")
        ruled_out = ladder.ruled_out or (unknown,)
        return (dataclasses.replace(ladder, candidates=(), ruled_out=ruled_out),)
    if "size" in parameters:
        return (dataclasses.replace(ladder, macros=ladder.macros | {"MT_ACCEPT_HAS_SIZE": "1"}),)
    return (ladder,)
