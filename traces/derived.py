# SPDX-License-Identifier: Apache-2.0
"""What follows for two flags of a row, ZEROED and IRQ_OFF, where no probe observes it.

The recorder's programs (probes/bpf/common.h, by the macros of probes/sites/system.py) and
the importer (traces/importers/rows.py) both go by the answers given here.  Each has three
values, and a row gets the flag for True alone: None, not known, sets none.

ZEROED: the page allocator zeroes what it allocates.  post_alloc_hook(), mm/page_alloc.c:

    init = !want_init_on_free() && want_init_on_alloc(gfp_flags)

want_init_on_alloc() is true with init_on_alloc, or for a request with __GFP_ZERO.  With
init_on_free the pages were zeroed when they were freed, and a request with __GFP_ZERO
zeroes nothing either.  should_skip_init() there is about KASAN's hardware tags, which no
architecture has that accepts memory.

IRQ_OFF: interrupts are off for the whole interval.  accept_memory(),
drivers/firmware/efi/unaccepted_memory.c, takes its lock with spin_lock_irqsave() and keeps
interrupts off while the platform accepts.  On PREEMPT_RT that lock sleeps, and taking it
disables no interrupts.  Outside of accept_memory() the platform's function converts shared
memory to private, with interrupts on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from memtrace.traces.run import Fact

GFP_ZERO = 0x100
"""__GFP_ZERO, include/linux/gfp_types.h, of a kernel that does not give its own value."""


def answer(facts: Iterable[Fact], name: str) -> bool | None:
    """A fact of yes or no; None for any other value, and where there is no such fact."""
    value = next((fact.value for fact in facts if fact.name == name), None)
    return {"yes": True, "no": False}.get(value or "")


def allocator_zeroes(asked: bool | None, on_alloc: bool | None, on_free: bool | None) -> bool | None:
    """Whether post_alloc_hook() zeroes; ``asked``: __GFP_ZERO is in the request's flags.

    ``on_alloc`` and ``on_free``: whether init_on_alloc and init_on_free are on.
    """
    if on_free or (asked is False and on_alloc is False):
        return False
    return True if on_free is False and (asked or on_alloc) else None


def tells_zeroing(on_alloc: bool | None, on_free: bool | None) -> bool:
    """Whether it is known of every request, by its gfp flags, whether the allocator zeroes for it."""
    return None not in (allocator_zeroes(asked, on_alloc, on_free) for asked in (False, True))


def interrupts_off(called: bool, preempt_rt: bool | None) -> bool | None:
    """Whether they are while the platform accepts; ``called``: inside accept_memory()."""
    if not called or preempt_rt:
        return False
    return True if preempt_rt is False else None


def preemption(version: str, config: Mapping[str, str]) -> Fact:
    """The fact ``preempt_rt``: yes, no or unknown.

    ``version`` is what ``uname -v`` and the kernel's log say, which names its preemption
    (init/Makefile, build-version); where it does not, the configuration counts.
    """
    name, key = "preempt_rt", "CONFIG_PREEMPT_RT"
    if re.search(r"\bPREEMPT[_ ]RT\b", version):
        return Fact(name, "yes", f"uname -v: {version}")
    if key in config:
        return Fact(name, "yes" if config[key] == "y" else "no", f"{key}={config[key]}")
    # Every such string begins with the number of the build, unless a distribution made it up.
    if version.startswith("#"):
        return Fact(name, "no", f"uname -v: {version}")
    return Fact(name, "unknown", "neither a kernel config nor its version string")
