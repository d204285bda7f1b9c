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

from memtrace.probes.functions import function_ladder
from memtrace.probes.ladder import Candidate, Ladder, resolve, why_untraceable
from memtrace.probes.module import Module
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

SOURCE = "hotplug"
_ALLOC = ("alloc", "zero.alloc")
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
    fails: str = "MT_HOT_ERRNO"
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
        fails="MT_HOT_NULL",
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
        fails="MT_HOT_NEVER",
    ),
    _Part(
        "hot.zone",
        ("move_pfn_range_to_zone",),
        "start_pfn, nr_pages: arguments; nid: page flags",
        ("hot.init",),
        fails="MT_HOT_NEVER",
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


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Each event by fentry/fexit or kprobe/kretprobe; no tracepoint exists."""
    return tuple(_ladder(system, part) for part in _PARTS)


def _ladder(system: System, part: _Part) -> Ladder:
    word = part.word
    ladder = function_ladder(
        system,
        part.event,
        part.functions,
        f"MT_FN_HOT_{word}",
        f"MT_SITE_HOT_{word}",
        f"mt_hot_{word.lower()}",
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
    macros = ladder.macros | _arguments(part, function, names)
    match part.event:
        case "hot.request":
            macros["MT_HOT_STACKS"] = "1"
        case "hot.memmap":
            macros |= _direct_map(system)
        case "hot.block":
            macros |= _blocks(system)
        case "hot.online":
            return _counting(system, dataclasses.replace(ladder, macros=macros))
    return dataclasses.replace(ladder, macros=macros)


def _arguments(part: _Part, function: str, names: tuple[str, ...]) -> dict[str, str]:
    """Where the BPF programs find each argument; -1 for one that the function does not have."""

    def place(*wanted: str) -> int:
        return next((names.index(name) for name in wanted if name in names), -1)

    in_pages = place("start_pfn", "pfn") >= 0
    returns = part.fails != "MT_HOT_NEVER" and function != "arch_remove_memory"
    numbers = {
        "PFN": place("start_pfn", "pfn", "start"),
        "PAGES": place("nr_pages", "size"),
        "SHIFT": 12 if in_pages else 0,
        "KEY": place(*part.key),
        "NID": place("nid"),
        "WISH": place("node"),
        "MGID": place("mhp_flags"),
        "RESOURCE": place("res"),
        "DEVICE": place("dev"),
        "ALTMAP": place("altmap") if part.event == "hot.section" else -1,
        "RESULT": len(names) if returns else -1,
        "EARLY": int(part.early_nid),
    }
    texts = {name: str(value) for name, value in numbers.items()}
    texts["FAILS"] = part.fails if returns else "MT_HOT_NEVER"
    return {f"MT_HOT_{part.word}_{name}": text for name, text in texts.items()}


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
    if kind == "fentry":
        module.attach_fentry_only(_COUNT)
    else:
        module.attach_kprobe(_COUNT, "mt_hot_page_kprobe")
    outer(module)
    module.update("mt_hot_counted", ctypes.c_uint32(0), ctypes.c_uint64(1))
