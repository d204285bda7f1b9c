# SPDX-License-Identifier: Apache-2.0
"""accept.*: acceptance of memory in TDX and SEV-SNP guests (6.5 on), in five nested intervals.

accept.burst   cond_accept_memory() (until 6.6 try_to_accept_memory()), mm/page_alloc.c: the
               blocks that one look at a zone's watermark made the allocation accept.  Looks
               that accepted nothing are not occurrences.
accept.block   __accept_page() (before 6.12 try_to_accept_memory_one()): one block of the
               largest order, off the zone's list, accepted and freed to the allocator.
accept.call    accept_memory(), drivers/firmware/efi/unaccepted_memory.c.  Its self time is
               the wait: for the lock and for calls whose range overlaps, plus the bitmap.
               ``bytes`` are those of the accept.arch inside: less than asked for where units
               were accepted before, more by the guard unit behind a range; null where no
               accept.arch is seen.
accept.arch    the platform's accept of a range, interrupts off from entry to return.  Outside
               an accept.call it is a conversion of shared memory back to private.
accept.step    what the platform was asked for: TDX by size, refused ones too (FAILED);
               SEV-SNP by call.  Summed for each accept.arch, for there may be 513 to 2 MiB.

All from entry to return.  The *victim* (flag VICTIM) is what waited: the alloc or hot.online
around the acceptance, or where neither is seen, its outermost interval.
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder, resolve
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

EVENTS = ("accept.burst", "accept.block", "accept.call", "accept.arch", "accept.step")
SOURCE = "topics/accept"
SITES = tuple(
    f"MT_SITE_ACCEPT_{part}_{kind}"
    for part in ("BURST", "BLOCK", "CALL", "ARCH", "STEP")
    for kind in ("FENTRY", "KPROBE")
)
NEEDS = {
    event: ("alloc", "accept.arch") if event in ("accept.call", "accept.step") else ("alloc",)
    for event in EVENTS
}
"""What must be watched too: who waits, and for the bytes of a call what it accepted inside."""

_BURST = ("cond_accept_memory", "try_to_accept_memory")
_BLOCK = ("__accept_page", "try_to_accept_memory_one")
_PLATFORMS = {
    "TDX": ("tdx_accept_memory", "try_accept_one"),
    "SEV-SNP": ("snp_accept_memory", "__set_pages_state"),
}
"""By the fact "confidential": what accepts a range, and what it does so with."""
_LAB = "unaccepted_emul_accept"
"""(start, end) like the others; only in the lab's kernel, which waits instead of accepting."""


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Each event by fentry/fexit or kprobe/kretprobe; no tracepoint exists."""
    found = (_burst(system), _block(system), _call(system), _arch(system), _step(system))
    if system.config.get("CONFIG_UNACCEPTED_MEMORY") == "n":
        missing = Refusal("accept_memory", "config missing", "CONFIG_UNACCEPTED_MEMORY is not set")
        return tuple(Ladder(ladder.event, (), (missing,)) for ladder in found)
    return found


def platform(system: System) -> str | None:
    """TDX, SEV-SNP, or emulated; None where nothing accepts memory, or what does is unknown."""
    if system.confidential in _PLATFORMS:
        return system.confidential
    return "emulated" if system.symbols.names(_LAB) else None


def _burst(system: System) -> Ladder:
    ladder = _ladder(system, "accept.burst", _BURST, "order, gfp: the alloc's; bytes: accept.block's")
    if system.confidential == "plain" and platform(system) is None:
        # Up to 6.16 every allocation comes by: not for nothing.
        return _without(ladder, _nothing_accepts(_BURST[0], "a plain machine accepts nothing"))
    count = _parameters(system, _BURST)
    return _with(ladder, MT_BURST_ARGS=len(count)) if count else _without_fentry(ladder)


def _block(system: System) -> Ladder:
    decode = "pfn: page argument, else accept.call's; bytes: the largest order (BTF)"
    ladder = _ladder(system, "accept.block", _BLOCK, decode)
    orders = system.btf.elements_of("zone", "free_area") if system.btf else None
    if not orders:
        return _without(ladder, Refusal(_BLOCK[0], "absent", "no BTF to tell how large a block is"))
    ladder = _with(ladder, MT_BLOCK_PAGES=1 << (orders - 1))
    if (resolve(system, _BLOCK) or "").startswith(_BLOCK[0]):
        ladder = _with(ladder, MT_BLOCK_VOID=1)
    parameters = _parameters(system, _BLOCK)
    return _with(ladder, MT_BLOCK_HAS_PAGE=1) if parameters[2:] == ("page",) else ladder


def _call(system: System) -> Ladder:
    decode = "pfn: start; bytes: accept.arch's; bytes_requested: end or size, as BTF names the argument"
    stems = ("accept_memory",)
    ladder = _ladder(system, "accept.call", stems, decode)
    parameters = _parameters(system, stems)
    if not parameters:
        # "end" became "size" in 6.12 (5adfeaecc487): without names the argument means nothing.
        return _without(
            ladder, Refusal(stems[0], "absent", "no BTF to tell whether the argument is end or size")
        )
    return _with(ladder, MT_ACCEPT_HAS_SIZE=1) if "size" in parameters else ladder


def _arch(system: System) -> Ladder:
    where = platform(system)
    if where is None:
        return _without(Ladder("accept.arch", ()), _nothing_accepts("tdx_accept_memory, snp_accept_memory"))
    stem = _PLATFORMS[where][0] if where in _PLATFORMS else _LAB
    return _ladder(system, "accept.arch", (stem,), "pfn, bytes: start, end; order, gfp: the alloc's")


def _step(system: System) -> Ladder:
    where = platform(system)
    if where not in _PLATFORMS:
        return _without(Ladder("accept.step", ()), _nothing_accepts("try_accept_one, __set_pages_state"))
    snp = where == "SEV-SNP"
    decode = "bytes: returned less vaddr" if snp else "order: level; bytes: returned, FAILED if none"
    ladder = _ladder(system, "accept.step", (_PLATFORMS[where][1],), f"{decode}; summed in each accept.arch")
    return _with(ladder, MT_STEP_SNP=1) if snp else ladder


def _ladder(system: System, event: str, stems: tuple[str, ...], decode: str) -> Ladder:
    part = event.removeprefix("accept.")
    inside = EVENTS[EVENTS.index(event) + 1 :]
    stem = f"ACCEPT_{part.upper()}"
    return function_ladder(
        system, event, stems, f"MT_FN_{stem}", f"MT_SITE_{stem}", f"mt_accept_{part}", decode, inside
    )


def _parameters(system: System, stems: tuple[str, ...]) -> tuple[str, ...]:
    """Parameters of the function that serves here, () if it or its BTF has been cut to size."""
    name = resolve(system, stems)
    return (system.btf.parameters(name) or ()) if system.btf and name else ()


def _with(ladder: Ladder, **macros: int) -> Ladder:
    return dataclasses.replace(ladder, macros=ladder.macros | {n: str(v) for n, v in macros.items()})


def _without_fentry(ladder: Ladder) -> Ladder:
    """fentry takes its types from BTF: without them only a kprobe is left."""
    macros = {name: value for name, value in ladder.macros.items() if not name.startswith("MT_FN_")}
    kept = tuple(c for c in ladder.candidates if c.kind != "fentry")
    return dataclasses.replace(ladder, candidates=kept, macros=macros)


def _without(ladder: Ladder, reason: Refusal) -> Ladder:
    """No candidates: for ``reason``, unless there were none anyway."""
    known = () if ladder.candidates else ladder.ruled_out
    return Ladder(ladder.event, (), known or (reason,))


def _nothing_accepts(
    functions: str, why: str = "not known to be a TDX or SEV-SNP guest: nothing here calls it"
) -> Refusal:
    return Refusal(functions, "absent", why)
