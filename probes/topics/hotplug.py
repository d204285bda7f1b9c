# SPDX-License-Identifier: Apache-2.0
"""hot.*: memory added to the running kernel, brought online, taken offline, removed.

Each event is one function from entry to return, times nested (hot.request contains
hot.add contains hot.section contains hot.memmap).  A function's arguments are found
by their names in BTF, because they move between versions.  The node of hot.request is
unknown where its nid is a memory group (MHP_NID_IS_MGID, include/linux/memory_hotplug.h);
that of hot.add is always a node.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.sites.functions import attach_pair, function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder, resolve, why_untraceable
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

SOURCE = "topics/hotplug"
NEVER, ERRNO, NULL = 0, 1, 2
"""What failure looks like in a returned value: MT_HOT_NEVER, _ERRNO, _NULL."""
_ALLOC = ("alloc", "zero.alloc")
_ARGUMENTS = ("pfn", "pages", "nid", "wish", "mgid", "resource", "device", "altmap")
_DESCRIBED = (*_ARGUMENTS, "shift", "fails", "early")
_SECTION_PAGES = 1 << 15
"""x86-64: SECTION_SIZE_BITS 27 less PAGE_SHIFT 12 (arch/x86/include/asm/sparsemem.h)."""
_BLOCK_SIZE = Path("/sys/devices/system/memory/block_size_bytes")


@dataclass(frozen=True)
class _Part:
    """One event: its functions, best first, and how their arguments are read."""

    event: str
    functions: tuple[str, ...]
    decode: str
    inside: tuple[str, ...] = ()
    fails: int = ERRNO
    key: tuple[str, ...] = ("start_pfn", "pfn", "start")
    """Parameters of which the first that exists tells this call from its neighbours."""
    early_nid: bool = False
    """The node is read from the page flags at the entry: at the return they may be gone."""

    @property
    def word(self) -> str:
        return self.event.removeprefix("hot.").upper()


_PARTS = (
    _Part(
        "hot.request",
        ("__add_memory_resource", "add_memory_resource", "__add_memory"),
        "range: the resource, or start and size; nid: the argument where it is a node",
        ("hot.add", "hot.block"),
        key=("res", "start"),
    ),
    _Part("hot.add", ("arch_add_memory",), "nid, start, size: arguments", ("hot.section",)),
    _Part(
        "hot.section",
        ("sparse_add_section",),
        "nid, start_pfn, nr_pages: arguments; flag ALTMAP: altmap argument",
        ("hot.memmap",),
    ),
    _Part(
        "hot.memmap",
        ("vmemmap_alloc_block",),
        "size, requested node: arguments; pfn, nid: of the address returned",
        _ALLOC,
        fails=NULL,
        key=("size",),
    ),
    _Part(
        "hot.altmap",
        ("mhp_init_memmap_on_memory",),
        "pfn, nr_pages: arguments, the struct pages' own pages; nid: page flags",
        ("hot.zone",),
    ),
    _Part(
        "hot.init",
        ("memmap_init_range",),
        "start_pfn, size in pages, nid: arguments",
        fails=NEVER,
    ),
    _Part(
        "hot.zone",
        ("move_pfn_range_to_zone",),
        "start_pfn, nr_pages: arguments; nid: page flags",
        ("hot.init",),
        fails=NEVER,
    ),
    _Part(
        "hot.online",
        ("online_pages",),
        "pfn, pages asked for: arguments; nid: page flags",
        ("hot.zone", "accept.call", *_ALLOC),
    ),
    _Part(
        "hot.block",
        ("memory_subsys_online",),
        "range, nid: struct memory_block around the argument",
        ("hot.altmap", "hot.online"),
        key=("dev",),
    ),
    _Part(
        "hot.offline",
        ("offline_pages",),
        "pfn, pages: arguments; nid: page flags at the entry",
        _ALLOC,
        early_nid=True,
    ),
    _Part(
        "hot.remove",
        ("try_remove_memory", "arch_remove_memory"),
        "start, size: arguments; nid: page flags at the entry",
        early_nid=True,
    ),
)
EVENTS = tuple(part.event for part in _PARTS)
SITES = tuple(f"MT_SITE_HOT_{part.word}_{kind}" for part in _PARTS for kind in ("FENTRY", "KPROBE"))
_COUNT = "generic_online_page"
_COUNTED = "; bytes: pages given to the allocator by generic_online_page()"


class _Function(ctypes.Structure):
    """struct mt_hot_function_t, hotplug.bpf.c."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        *((name, ctypes.c_int8) for name in _ARGUMENTS),
        *((name, ctypes.c_uint8) for name in ("shift", "fails", "early")),
        ("unused", ctypes.c_uint8 * 5),
    )


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Each event by kprobe/kretprobe or fentry/fexit; no tracepoint exists.

    Kprobes first: the events are rare, and all kprobes share two small programs, where
    fentry and fexit need a pair each.
    """
    return tuple(_ladder(system, part) for part in _PARTS)


def _ladder(system: System, part: _Part) -> Ladder:
    word = part.word
    ladder = function_ladder(
        system,
        part.event,
        part.functions,
        f"MT_FN_HOT_{word}",
        f"MT_SITE_HOT_{word}",
        "mt_hot",
        part.decode,
        part.inside,
    )
    if not ladder.candidates:
        return ladder
    function = resolve(system, part.functions) or part.functions[0]
    names = system.btf.parameters(function.split(".")[0]) if system.btf else None
    if names is None:
        unknown = Refusal(function, "absent", "no BTF to tell its arguments apart")
        return dataclasses.replace(ladder, candidates=(), ruled_out=(*ladder.ruled_out, unknown), macros={})
    numbers = _arguments(part, function, names)
    macros = ladder.macros | {f"MT_HOT_{word}_{name.upper()}": str(n) for name, n in numbers.items()}
    match part.event:
        case "hot.request":
            macros["MT_HOT_STACKS"] = "1"
        case "hot.memmap":
            macros |= _direct_map(system)
        case "hot.block":
            macros |= _blocks(system)
    ladder = _kprobes_first(system, dataclasses.replace(ladder, macros=macros), function, numbers)
    return _counting(system, ladder) if part.event == "hot.online" else ladder


def _arguments(part: _Part, function: str, names: tuple[str, ...]) -> dict[str, int]:
    """Where the BPF programs find each argument; -1 for one that the function does not have."""

    def place(*wanted: str) -> int:
        return next((names.index(name) for name in wanted if name in names), -1)

    returns = part.fails != NEVER and function != "arch_remove_memory"
    return {
        "pfn": place("start_pfn", "pfn", "start"),
        "pages": place("nr_pages", "size"),
        "nid": place("nid"),
        "wish": place("node"),
        "mgid": place("mhp_flags"),
        "resource": place("res"),
        "device": place("dev"),
        "altmap": place("altmap") if part.event == "hot.section" else -1,
        "shift": 12 if place("start_pfn", "pfn") >= 0 else 0,
        "fails": part.fails if returns else NEVER,
        "early": int(part.early_nid),
        "key": place(*part.key),
        "result": len(names) if returns else -1,
    }


def _kprobes_first(system: System, ladder: Ladder, function: str, numbers: dict[str, int]) -> Ladder:
    """``ladder`` with its kprobe, if the function's address is known, before its fentry."""
    symbol = system.symbols.one(function)
    by_kind = {candidate.kind: candidate for candidate in ladder.candidates}
    kprobe, fentry = by_kind.get("kprobe"), by_kind.get("fentry")
    if kprobe is None or symbol is None:
        alone = (fentry,) if fentry else ()
        return dataclasses.replace(ladder, candidates=alone, macros=ladder.macros | {"MT_HOT_FENTRY": "1"})
    described = _Function(address=symbol.address, **{n: v for n, v in numbers.items() if n in _DESCRIBED})
    number = EVENTS.index(ladder.event)
    attach = partial(_attach_shared, function=function, number=number, described=described)
    kept: tuple[Candidate, ...] = (dataclasses.replace(kprobe, attach=attach, standalone=True),)
    if fentry:
        kept = (*kept, dataclasses.replace(fentry, attach=partial(_attach_fentry, function=function)))
    return dataclasses.replace(ladder, candidates=kept)


def _attach_shared(module: Module, function: str, number: int, described: _Function) -> None:
    attach_pair(module, function, "mt_hot")
    module.update("mt_hot_functions", ctypes.c_uint32(number), described)


def _attach_fentry(module: Module, function: str) -> None:
    if not module.has_fentry(function):
        raise RefusedError("avoided", "compiled only where there are no kprobes, or with --avoid kprobe")
    module.attach_fentry(function)


def _direct_map(system: System) -> dict[str, str]:
    """Where physical memory is mapped, for a kernel whose variable cannot be read from here.

    Without CONFIG_DYNAMIC_MEMORY_LAYOUT there is no such variable: the address is
    __PAGE_OFFSET_BASE_L4 (arch/x86/include/asm/page_64_types.h).
    """
    if system.page_offset is not None:
        return {}
    symbol = system.symbols.one("page_offset_base")
    if symbol is not None:
        return {"MT_PAGE_OFFSET_AT": f"{symbol.address:#x}ULL"}
    if system.config.get("CONFIG_DYNAMIC_MEMORY_LAYOUT") == "n":
        return {"MT_PAGE_OFFSET": "0xffff888000000000ULL"}
    return {}


def _blocks(system: System) -> dict[str, str]:
    """How a struct memory_block (include/linux/memory.h) is read from its struct device."""
    btf = system.btf
    try:
        pages = int(_BLOCK_SIZE.read_text(), 16) >> 12
    except (OSError, ValueError):
        return {}
    found = {
        "MT_BLOCK_DEVICE": btf.offset_of("memory_block", "dev") if btf else None,
        "MT_BLOCK_SECTION": btf.offset_of("memory_block", "start_section_nr") if btf else None,
        "MT_BLOCK_NID": btf.offset_of("memory_block", "nid") if btf else None,
    }
    if None in found.values():
        return {}
    return {name: str(value) for name, value in found.items()} | {
        "MT_BLOCK_PAGES": str(pages),
        "MT_SECTION_PAGES": str(_SECTION_PAGES),
    }


def _counting(system: System, ladder: Ladder) -> Ladder:
    """The candidates of hot.online, first with generic_online_page() counted inside, then without."""
    if why_untraceable(system, _COUNT) is not None:
        return ladder
    counting = tuple(
        dataclasses.replace(
            candidate,
            attach=partial(_attach_counting, outer=candidate.attach, kind=candidate.kind),
            decode=candidate.decode + _COUNTED,
        )
        for candidate in ladder.candidates
    )
    pairs = zip(counting, ladder.candidates, strict=True)
    both: tuple[Candidate, ...] = tuple(candidate for pair in pairs for candidate in pair)
    return dataclasses.replace(ladder, candidates=both, macros=ladder.macros | {"MT_FN_HOT_PAGE": _COUNT})


def _attach_counting(module: Module, outer: Callable[[Module], None], kind: str) -> None:
    if kind == "fentry" and module.has_fentry(_COUNT):
        module.attach_fentry(_COUNT, exit_=False)
    else:
        module.attach_kprobe(_COUNT, "mt_hot_page_kprobe")
    outer(module)
    module.update("mt_hot_counted", ctypes.c_uint32(0), ctypes.c_uint64(1))
