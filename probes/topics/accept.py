# SPDX-License-Identifier: Apache-2.0
"""accept.*: acceptance of memory in TDX and SEV-SNP guests (6.5 on), in five nested intervals.

accept.burst   cond_accept_memory() (until 6.6 try_to_accept_memory()), mm/page_alloc.c: the
               blocks that an allocation accepted after one look at a zone's watermark.  A look
               that accepted nothing is not an event.
accept.block   __accept_page() (before 6.12 try_to_accept_memory_one()): one block of the
               largest order, taken off the zone's list, accepted, and freed to the allocator.
accept.call    accept_memory(), drivers/firmware/efi/unaccepted_memory.c.  Its self time is
               the wait for the lock and for calls whose range overlaps, plus the bitmap.
               ``bytes`` are those of the accept.arch inside: less than asked for where units
               were accepted before, more by the guard unit behind a range; null where no
               accept.arch is seen.
accept.arch    the platform's acceptance of a range, interrupts off from entry to return
               (on PREEMPT_RT they stay on, and its steps are not summed).
               Outside an accept.call it is a conversion of shared memory back to private.
accept.step    what the platform was asked for: by page size on TDX, including refused
               requests (FAILED); by call on SEV-SNP.  The steps of an accept.arch are
               summed, because 2 MiB may take 513 of them.

Each interval lasts from entry to return.  The *victim* (flag VICTIM) is the event that
waited: the alloc or hot.online around the acceptance, or where neither is seen, the
outermost interval of the acceptance.
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites import code
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder, resolve, why_untraceable
from memtrace.probes.sites.system import System
from memtrace.probes.topics.event import Event
from memtrace.traces.run import Refusal

_STEPS = ("accept.block", "accept.call", "accept.arch", "accept.step")
_GFP = {"order": "of the allocation that waited", "gfp": "of the allocation that waited"}
# From the outside in, with consecutive numbers: accept.bpf.c compares them.
EVENTS = (
    Event(
        "accept.burst",
        "the blocks that one allocation accepted at one go",
        about=(
            "This and the next four are about confidential guests (TDX, SEV-SNP; 6.5 on) and lie one in "
            "the other, inside the alloc or hot.online that waited."
        ),
        functions=("cond_accept_memory", "try_to_accept_memory"),
        fields={**_GFP, "bytes": "of the blocks inside"},
        inside=_STEPS,
        needs=("alloc",),
    ),
    Event(
        "accept.block",
        "one block of the largest order, accepted for use",
        about=("The largest order is 4 MiB on x86; the block lay queued, unaccepted."),
        functions=("__accept_page", "try_to_accept_memory_one"),
        fields={**_GFP, "bytes": "of the largest order"},
        inside=_STEPS[1:],
        needs=("alloc",),
        witness="nr_unaccepted",
    ),
    Event(
        "accept.call",
        "one call of accept_memory(), waiting included",
        about=(
            "Its own time, without accept.arch, is the wait for the lock and for calls that overlap it, "
            "and the bitmap. Its bytes are those that were accepted: fewer than asked for where a part "
            "had been accepted before, more by a guard unit behind the range."
        ),
        functions=("accept_memory",),
        fields={"bytes": "accepted inside", "bytes_requested": "of the range asked for"},
        inside=_STEPS[2:],
        needs=("alloc", "accept.arch"),
        witness="nr_unaccepted",
    ),
    Event(
        "accept.arch",
        "one range accepted by the platform, interrupts off",
        about=("Outside an accept.call it is a conversion of shared memory back to private."),
        functions=("tdx_accept_memory", "snp_accept_memory"),
        fields=_GFP,
        inside=_STEPS[3:],
        needs=("alloc",),
        witness="nr_unaccepted",
    ),
    Event(
        "accept.step",
        "one size of page asked of the platform, accepted or refused",
        about=(
            "For TDX by size of page, refused or not, for SEV-SNP by call: one row for each accept.arch "
            "and size. Where __set_pages_state() is inlined (7.2 on), a call is the whole range."
        ),
        functions=("try_accept_one", "__set_pages_state", "set_pages_state"),
        fields={"count": "steps of one size in one accept.arch", "order": "of the pages asked for"},
        needs=("alloc", "accept.arch"),
    ),
)
BURST, BLOCK, CALL, ARCH, STEP = EVENTS
SOURCES = ("topics/accept",)

_PLATFORMS = {
    "TDX": (ARCH.functions[0], STEP.functions[0]),
    "SEV-SNP": (ARCH.functions[1], STEP.functions[1]),
}
"""By the fact "confidential": the function that accepts a range, and the one that it calls for a step."""
_WHOLE = "set_pages_state"
_LAB = "unaccepted_emul_accept"
"""The function (start, end) of the lab's kernel, which waits instead of accepting."""


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return a ladder for each event, by fentry/fexit or kprobe/kretprobe; no tracepoint exists."""
    found = (_burst(system), _block(system), _call(system), _arch(system), _step(system))
    if system.config.get("CONFIG_UNACCEPTED_MEMORY") == "n":
        missing = Refusal("accept_memory", "config missing", "CONFIG_UNACCEPTED_MEMORY is not set")
        return tuple(Ladder(ladder.event, (), (missing,)) for ladder in found)
    return found


def platform(system: System) -> str | None:
    """Return TDX, SEV-SNP or emulated; None where nothing accepts memory, or it is unknown what does."""
    if system.confidential in _PLATFORMS:
        return system.confidential
    return "emulated" if system.symbols.names(_LAB) else None


def _burst(system: System) -> Ladder:
    ladder = _ladder(system, BURST, "order, gfp: the alloc's; bytes: accept.block's")
    if system.confidential == "plain" and platform(system) is None:
        # Up to 6.16 every allocation calls the function, and would pay for a probe on it.
        return _without(ladder, _nothing_accepts(system, BURST.functions, "a plain machine accepts nothing"))
    count = _parameters(system, BURST.functions)
    return _with(ladder, MT_BURST_ARGS=len(count)) if count else _without_fentry(ladder)


def _block(system: System) -> Ladder:
    decode = "pfn: page argument, else accept.call's; bytes: the largest order (BTF)"
    ladder = _ladder(system, BLOCK, decode)
    orders = system.btf.elements_of("zone", "free_area") if system.btf else None
    if not orders:
        return _without(
            ladder, Refusal(BLOCK.functions[0], "not known", "no BTF to tell how large a block is")
        )
    ladder = _with(ladder, MT_BLOCK_PAGES=1 << (orders - 1))
    if (resolve(system, BLOCK.functions) or "").startswith(BLOCK.functions[0]):
        ladder = _with(ladder, MT_BLOCK_VOID=1)
    parameters = _parameters(system, BLOCK.functions)
    return _with(ladder, MT_BLOCK_HAS_PAGE=1) if parameters[2:] == ("page",) else ladder


def _call(system: System) -> Ladder:
    decode = "pfn: start; bytes: accept.arch's; bytes_requested: end or size, as BTF names the argument"
    ladder = _ladder(system, CALL, decode)
    parameters = _parameters(system, CALL.functions)
    if not parameters:
        # "end" became "size" in 6.12 (5adfeaecc487): without names the argument means nothing.
        return _without(
            ladder,
            Refusal(CALL.functions[0], "not known", "no BTF to tell whether the argument is end or size"),
        )
    return _with(ladder, MT_ACCEPT_HAS_SIZE=1) if "size" in parameters else ladder


def _arch(system: System) -> Ladder:
    where = platform(system)
    if where is None:
        return _without(Ladder("accept.arch", ()), _nothing_accepts(system, ARCH.functions))
    stem = _PLATFORMS[where][0] if where in _PLATFORMS else _LAB
    return _ladder(system, ARCH, "pfn, bytes: start, end; order, gfp: the alloc's", (stem,))


def _step(system: System) -> Ladder:
    where = platform(system)
    if where not in _PLATFORMS:
        return _without(Ladder("accept.step", ()), _nothing_accepts(system, STEP.functions))
    snp = where == "SEV-SNP"
    if snp and not system.symbols.names(_PLATFORMS[where][1]):
        return _whole_step(system)
    decode = "bytes: returned less vaddr" if snp else "order: level; bytes: returned, FAILED if none"
    ladder = _ladder(system, STEP, f"{decode}; summed in each accept.arch", (_PLATFORMS[where][1],))
    return _with(ladder, MT_STEP_SNP=1) if snp else ladder


def _whole_step(system: System) -> Ladder:
    """Return the ladder of accept.step by set_pages_state(vaddr, npages, op), arch/x86/coco/sev/core.c.

    It returns nothing: what it cannot do ends the guest.
    """
    ladder = _ladder(system, STEP, "bytes: npages; summed in each accept.arch", (_WHOLE,))
    clones = [name for name in system.symbols.names(_WHOLE) if "." in name]
    if clones and not _is_called(system, ARCH.functions[1], _WHOLE):
        why = f"its callers may go on in {clones[0]}, whose arguments are not known"
        return _without(ladder, Refusal(_WHOLE, "inlined", why))
    if ladder.candidates and _parameters(system, (_WHOLE,)) != ("vaddr", "npages", "op"):
        return _without(ladder, Refusal(_WHOLE, "not known", "no BTF to tell its arguments, or others"))
    return _with(ladder, MT_STEP_SNP=1, MT_STEP_WHOLE=1)


def _is_called(system: System, caller: str, function: str) -> bool:
    """Return whether the code of ``caller`` can be read, and goes to ``function`` itself."""
    by, to = system.symbols.one(caller), system.symbols.one(function)
    text = code.read_text(by) if by is not None and to is not None else None
    return by is not None and to is not None and bool(text) and code.goes_to(text or b"", by, to.address)


def _ladder(system: System, event: Event, decode: str, functions: tuple[str, ...] = ()) -> Ladder:
    return function_ladder(system, event.name, functions or event.functions, decode, event.inside)


def _parameters(system: System, stems: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters of the function that serves here; () without BTF or for an .isra/.part clone."""
    name = resolve(system, stems)
    return (system.btf.parameters(name) or ()) if system.btf and name else ()


def _with(ladder: Ladder, **macros: int) -> Ladder:
    return dataclasses.replace(ladder, macros=ladder.macros | {n: str(v) for n, v in macros.items()})


def _without_fentry(ladder: Ladder) -> Ladder:
    """Return ``ladder`` without fentry, which takes its types from BTF; without them a kprobe is left."""
    macros = {name: value for name, value in ladder.macros.items() if not name.startswith("MT_FN_")}
    kept = tuple(c for c in ladder.candidates if c.kind != "fentry")
    return dataclasses.replace(ladder, candidates=kept, macros=macros)


def _without(ladder: Ladder, reason: Refusal) -> Ladder:
    """Return ``ladder`` without candidates, for ``reason`` unless it had none for a reason of its own."""
    known = () if ladder.candidates else ladder.ruled_out
    return Ladder(ladder.event, (), known or (reason,))


def _nothing_accepts(
    system: System,
    functions: tuple[str, ...],
    why: str = "not known to be a TDX or SEV-SNP guest: nothing here calls it",
) -> Refusal:
    """Return that the functions are not called here, or that this kernel has none of them."""
    if not any(system.symbols.names(function) for function in functions):
        return why_untraceable(system, functions[0]) or Refusal(functions[0], "unused", why)
    return Refusal(", ".join(functions), "unused", why)
