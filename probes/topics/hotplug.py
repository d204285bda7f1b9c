# SPDX-License-Identifier: Apache-2.0
"""hot.*: memory added to the running kernel, brought online, taken offline, removed.

Each event is one function from entry to return, and their times are nested: hot.request
contains hot.add, which contains hot.section, which contains hot.memmap.  A function's
arguments are found by their names in BTF, because they move between versions.  The node of
hot.request is unknown where its nid is a memory group (MHP_NID_IS_MGID,
include/linux/memory_hotplug.h); that of hot.add is always a node.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder, resolve
from memtrace.probes.sites.system import System
from memtrace.probes.topics.event import Event
from memtrace.probes.topics.hotplug_attach import counting, kprobes_first
from memtrace.traces.run import Refusal

SOURCES = ("topics/hotplug",)
NEVER, ERRNO, NULL = 0, 1, 2
"""What failure looks like in a returned value; the numbers are MT_HOT_NEVER, _ERRNO and _NULL."""
_ALLOC = ("alloc", "zero.alloc")
_SECTION_PAGES = 1 << 15
"""Pages in a section, x86-64: SECTION_SIZE_BITS 27 less PAGE_SHIFT 12 (arch/x86/include/asm/sparsemem.h)."""
_BLOCK_SIZE = Path("/sys/devices/system/memory/block_size_bytes")


@dataclass(frozen=True)
class _Part:
    """How the arguments of an event's function are read."""

    event: Event
    decode: str
    fails: int = ERRNO
    key: tuple[str, ...] = ("start_pfn", "pfn", "start")
    """Names of parameters; the first one that exists tells this call from its neighbours."""
    early_nid: bool = False
    """Whether the node is read from the page flags at the entry: at the return they may be gone."""

    @property
    def word(self) -> str:
        return self.event.name.removeprefix("hot.").upper()


_RANGE = {"pfn": "of the range", "bytes": "of the range", "bytes_requested": "where less was given"}
_PARTS = (
    _Part(
        Event(
            "hot.request",
            "one request to add memory, to its end",
            ("__add_memory_resource", "add_memory_resource", "__add_memory"),
            about=(
                "Its row always has the kernel stack, which says who asked. Its node is unknown where the "
                "kernel was given a memory group instead (MHP_NID_IS_MGID)."
            ),
            fields=_RANGE,
            inside=("hot.add", "hot.block"),
        ),
        "range: the resource, or start and size; nid: the argument where it is a node",
        key=("res", "start"),
    ),
    _Part(
        Event(
            "hot.add",
            "one range of memory added to the kernel's map, on its node",
            ("arch_add_memory",),
            fields=_RANGE,
            inside=("hot.section",),
            witness="MemTotal",
        ),
        "nid, start, size: arguments",
    ),
    _Part(
        Event(
            "hot.section",
            "one section given its struct pages",
            ("sparse_add_section",),
            about=("Flag ALTMAP: they lie inside the memory that is added."),
            fields=_RANGE,
            inside=("hot.memmap",),
        ),
        "nid, start_pfn, nr_pages: arguments; flag ALTMAP: altmap argument",
    ),
    _Part(
        Event(
            "hot.memmap",
            "one block of struct pages allocated for added memory",
            ("vmemmap_alloc_block",),
            about=("With the node asked for and the real one; it lies inside a hot.section."),
            fields=_RANGE,
            inside=_ALLOC,
        ),
        "size, requested node: arguments; pfn, nid: of the address returned",
        fails=NULL,
        key=("size",),
    ),
    _Part(
        Event(
            "hot.altmap",
            "struct pages of a memory block inside that block",
            ("mhp_init_memmap_on_memory",),
            fields=_RANGE,
            inside=("hot.zone",),
        ),
        "pfn, nr_pages: arguments, the struct pages' own pages; nid: page flags",
    ),
    _Part(
        Event(
            "hot.init",
            "struct pages of a range initialised",
            ("memmap_init_range",),
            fields=_RANGE,
        ),
        "start_pfn, size in pages, nid: arguments",
        fails=NEVER,
    ),
    _Part(
        Event(
            "hot.zone",
            "one range made part of a zone",
            ("move_pfn_range_to_zone",),
            fields=_RANGE,
            inside=("hot.init",),
        ),
        "start_pfn, nr_pages: arguments; nid: page flags",
        fails=NEVER,
    ),
    _Part(
        Event(
            "hot.online",
            "one range of added memory given to the allocator",
            ("online_pages",),
            about=(
                "Its bytes are those that generic_online_page() gave, of the range that was asked for: "
                "balloon drivers give a part."
            ),
            fields=_RANGE,
            inside=("hot.zone", "accept.call", *_ALLOC),
        ),
        "pfn, pages asked for: arguments; nid: page flags",
    ),
    _Part(
        Event(
            "hot.block",
            "one memory block brought online",
            ("memory_subsys_online",),
            fields=_RANGE,
            inside=("hot.altmap", "hot.online"),
        ),
        "range, nid: struct memory_block around the argument",
        key=("dev",),
    ),
    _Part(
        Event(
            "hot.offline",
            "one range taken from the allocator, or the refusal of it",
            ("offline_pages",),
            fields=_RANGE,
            inside=_ALLOC,
        ),
        "pfn, pages: arguments; nid: page flags at the entry",
        early_nid=True,
    ),
    _Part(
        Event(
            "hot.remove",
            "one range removed from the kernel's map",
            ("try_remove_memory", "arch_remove_memory"),
            fields=_RANGE,
        ),
        "start, size: arguments; nid: page flags at the entry",
        early_nid=True,
    ),
)
EVENTS = tuple(part.event for part in _PARTS)


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return a ladder for each event, by kprobe/kretprobe or fentry/fexit; no tracepoint exists.

    Kprobes come first: the events are rare, and all kprobes share two small programs, where
    fentry and fexit need a pair each.
    """
    return tuple(_ladder(system, part) for part in _PARTS)


def _ladder(system: System, part: _Part) -> Ladder:
    word = part.word
    ladder = function_ladder(
        system,
        part.event.name,
        part.event.functions,
        part.decode,
        part.event.inside,
        program="mt_hot",
    )
    if not ladder.candidates:
        return ladder
    function = resolve(system, part.event.functions) or part.event.functions[0]
    names = system.btf.parameters(function.split(".")[0]) if system.btf else None
    if names is None:
        unknown = Refusal(function, "not known", "no BTF to tell its arguments apart")
        return dataclasses.replace(ladder, candidates=(), ruled_out=(*ladder.ruled_out, unknown), macros={})
    numbers = _arguments(part, function, names)
    macros = ladder.macros | {f"MT_HOT_{word}_{name.upper()}": str(n) for name, n in numbers.items()}
    match part.event.name:
        case "hot.request":
            macros["MT_HOT_STACKS"] = "1"
        case "hot.memmap":
            macros |= _direct_map(system)
        case "hot.block":
            macros |= _blocks(system)
    ladder = kprobes_first(
        system, dataclasses.replace(ladder, macros=macros), function, EVENTS.index(part.event), numbers
    )
    return counting(system, ladder) if part.event.name == "hot.online" else ladder


def _arguments(part: _Part, function: str, names: tuple[str, ...]) -> dict[str, int]:
    """Return how the BPF programs read a call of the function.

    An argument is given by its index, or -1 if the function does not have it.  Of the others,
    ``shift`` is 12 where the range is in pages and 0 where it is in bytes.
    """

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
        "altmap": place("altmap") if part.event.name == "hot.section" else -1,
        "shift": 12 if place("start_pfn", "pfn") >= 0 else 0,
        "fails": part.fails if returns else NEVER,
        "early": int(part.early_nid),
        "key": place(*part.key),
        "result": len(names) if returns else -1,
    }


def _direct_map(system: System) -> dict[str, str]:
    """Return the macro of where physical memory is mapped, if the variable can't be read from here.

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
    """Return the macros that find a struct memory_block (include/linux/memory.h) from its struct device.

    Returns {} if one of them, or the size of a block, is not known.
    """
    btf = system.btf
    try:
        pages = int(_BLOCK_SIZE.read_text(), 16) >> 12
    except (OSError, ValueError):
        return {}
    found = {
        "MT_MEMORY_BLOCK_DEVICE": btf.offset_of("memory_block", "dev") if btf else None,
        "MT_MEMORY_BLOCK_SECTION": btf.offset_of("memory_block", "start_section_nr") if btf else None,
        "MT_MEMORY_BLOCK_NID": btf.offset_of("memory_block", "nid") if btf else None,
    }
    if None in found.values():
        return {}
    return {name: str(value) for name, value in found.items()} | {
        "MT_MEMORY_BLOCK_PAGES": str(pages),
        "MT_SECTION_PAGES": str(_SECTION_PAGES),
    }
