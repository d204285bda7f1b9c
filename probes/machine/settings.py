# SPDX-License-Identifier: Apache-2.0
"""The settings that change what memory costs: zeroing, acceptance, huge pages, watermarks.

Two runs whose settings differ are not comparable, so each is a fact with its
evidence and goes into the run's header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from memtrace.probes.machine.sources import KernelLog, Root, counters, names, option, read_text, truth
from memtrace.traces.run import Fact

SYSCTLS = (
    "vm.min_free_kbytes",
    "vm.watermark_scale_factor",
    "vm.watermark_boost_factor",
    "vm.percpu_pagelist_high_fraction",
    "vm.zone_reclaim_mode",
    "vm.lowmem_reserve_ratio",
    "vm.compaction_proactiveness",
    "vm.compact_unevictable_allowed",
    "vm.extfrag_threshold",
    "vm.defrag_mode",
    "vm.swappiness",
    "vm.overcommit_memory",
    "vm.numa_stat",
    "vm.nr_hugepages",
    "vm.nr_overcommit_hugepages",
    "vm.hugetlb_optimize_vmemmap",
    "kernel.numa_balancing",
    "kernel.ftrace_enabled",
    "kernel.randomize_va_space",
)
_THP = "/sys/kernel/mm/transparent_hugepage"
_CPU_FLAGS = ("erms", "fsrm", "rep_good")
_UNKNOWN = "unknown"


def sysctls(root: Root = "/") -> dict[str, str]:
    """Return the values of SYSCTLS as the kernel prints them, without those that this kernel lacks."""
    found = {n: read_text(root, "/proc/sys/" + n.replace(".", "/")) for n in SYSCTLS}
    return {name: " ".join(text.split()) for name, text in found.items() if text is not None}


def memory_facts(root: Root, log: KernelLog, config: Mapping[str, str], cmdline: str) -> tuple[Fact, ...]:
    """Return every setting of this module as a fact; ``config`` maps CONFIG_ names to y, n or a value."""
    return (
        init_on("alloc", log, config, cmdline),
        init_on("free", log, config, cmdline),
        accept_memory(root, config, cmdline),
        struct_page_init(root, log, config, cmdline),
        *thp(root, config),
        hugetlb_pools(root, config),
        *cpu_clearing(root),
        clocksource(root),
    )


def init_on(what: str, log: KernelLog, config: Mapping[str, str], cmdline: str) -> Fact:
    """Return whether pages are zeroed when allocated (``what`` "alloc") or freed ("free").

    The value is yes, no or unknown.  The kernel's own "mem auto-init:" line (mm/mm_init.c:
    report_meminit) counts most, as page poisoning and KASAN override the rest.  The
    command line comes next, then the configuration.
    """
    name = f"init_on_{what}"
    line = log.find("^mem auto-init:")
    said = re.search(rf"heap {what}:(on|off)", line) if line else None
    if line and said:
        return Fact(name, "yes" if said[1] == "on" else "no", f"{log.source}: {line}")
    asked = option(cmdline, name)
    wish = truth(asked)
    if wish is not None:
        return Fact(name, "yes" if wish else "no", f"/proc/cmdline: {name}={asked}")
    key = f"CONFIG_INIT_ON_{what.upper()}_DEFAULT_ON"
    if key in config:
        evidence = f"{key}={config[key]}, and not on the command line"
        return Fact(name, "yes" if config[key] == "y" else "no", evidence)
    return Fact(name, _UNKNOWN, f"{log.why_silent()}; not on the command line; no kernel config")


def accept_memory(root: Root, config: Mapping[str, str], cmdline: str) -> Fact:
    """Return how this kernel accepts unaccepted memory: lazy, eager, "not built in" or unknown.

    This does not say whether there is any; the platform's fact ``lazy_accept`` does.
    """
    vmstat = read_text(root, "/proc/vmstat")
    built = config.get("CONFIG_UNACCEPTED_MEMORY")
    if vmstat and "nr_unaccepted" in counters(vmstat):
        evidence = "/proc/vmstat has nr_unaccepted"
    elif vmstat:
        return Fact("accept_memory", "not built in", "/proc/vmstat has no nr_unaccepted")
    elif built is None:
        return Fact("accept_memory", _UNKNOWN, "neither /proc/vmstat nor a kernel config can be read")
    else:
        evidence = f"CONFIG_UNACCEPTED_MEMORY={built}"
        if built != "y":
            return Fact("accept_memory", "not built in", evidence)
    asked = option(cmdline, "accept_memory")
    if asked in ("lazy", "eager"):
        return Fact("accept_memory", asked, f"{evidence}; /proc/cmdline: accept_memory={asked}")
    return Fact("accept_memory", "lazy", f"{evidence}; not on the command line, lazy is the default")


def struct_page_init(root: Root, log: KernelLog, config: Mapping[str, str], cmdline: str) -> Fact:
    """Return when struct pages are initialised: "at boot", "deferred", "lazy" or unknown.

    "deferred" is by threads late in boot.  "lazy" is not in mainline kernels: with it,
    deferred_grow_zone() goes on initialising struct pages inside allocations for as long
    as the machine runs, so allocation time includes it.
    """
    name = "struct_page_init"
    built = config.get("CONFIG_DEFERRED_STRUCT_PAGE_INIT")
    if option(cmdline, "deferred_init") == "lazy" and built != "n":
        managed, present = _zone_pages(read_text(root, "/proc/zoneinfo") or "")
        share = f"; /proc/zoneinfo: {managed} of {present} present pages managed" if present else ""
        return Fact(name, "lazy", f"/proc/cmdline: deferred_init=lazy{share}")
    # mm/mm_init.c: deferred_init_memmap; on a small machine there may be nothing left to defer.
    line = log.find(r"^node \d+ deferred pages initialised in ")
    if line is not None:
        return Fact(name, "deferred", f"{log.source}: {line}")
    if built is not None:
        evidence = f"CONFIG_DEFERRED_STRUCT_PAGE_INIT={built}"
        return Fact(name, "deferred" if built == "y" else "at boot", evidence)
    evidence = f"no kernel config; {log.why_silent()} (node 0 deferred pages initialised)"
    return Fact(name, "at boot" if log.complete else _UNKNOWN, evidence)


def _zone_pages(zoneinfo: str) -> tuple[int, int]:
    sums = {
        word: sum(int(n) for n in re.findall(rf"^\s+{word}\s+(\d+)$", zoneinfo, re.MULTILINE))
        for word in ("managed", "present")
    }
    return sums["managed"], sums["present"]


def chosen(text: str | None) -> str:
    """Return the bracketed word of ``always [madvise] never``; "unknown" if there is none."""
    match = re.search(r"\[([^\]]+)\]", text or "")
    return match[1] if match else _UNKNOWN


def thp(root: Root, config: Mapping[str, str]) -> tuple[Fact, ...]:
    """Return the settings of transparent huge pages.

    They are ``thp_enabled``, ``thp_defrag``, ``thp_shmem`` and, for all sizes, ``mthp``.  Where
    the kernel has none, ``thp_enabled`` is "not built in" and the only fact.
    """
    if config.get("CONFIG_TRANSPARENT_HUGEPAGE") == "n":
        return (Fact("thp_enabled", "not built in", "CONFIG_TRANSPARENT_HUGEPAGE=n"),)
    plain = tuple(
        Fact(f"thp_{fact}", chosen(read_text(root, f"{_THP}/{file}")), f"{_THP}/{file}")
        for fact, file in (("enabled", "enabled"), ("defrag", "defrag"), ("shmem", "shmem_enabled"))
    )
    return (*plain, _mthp(root))


def _mthp(root: Root) -> Fact:
    sizes = {}
    for name in names(root, _THP, r"hugepages-\d+kB"):
        # A size that only shmem supports has no ``enabled`` file.
        text = read_text(root, f"{_THP}/{name}/enabled")
        if text is not None:
            sizes[int(re.sub(r"\D", "", name))] = chosen(text)
    if not sizes:
        return Fact("mthp", "none", f"no {_THP}/hugepages-*")
    on = [f"{size}kB={sizes[size]}" for size in sorted(sizes) if sizes[size] != "never"]
    return Fact("mthp", ", ".join(on) or "never", f"{_THP}/hugepages-*/enabled, {len(sizes)} sizes")


def hugetlb_pools(root: Root, config: Mapping[str, str]) -> Fact:
    """Return the hugetlb pools that are not empty, by node and size: ``node0 2048kB: 12, 10 free``."""
    if config.get("CONFIG_HUGETLBFS") == "n":
        return Fact("hugetlb_pools", "not built in", "CONFIG_HUGETLBFS=n")
    pools = [
        (node, f"/sys/devices/system/node/{node}/hugepages")
        for node in names(root, "/sys/devices/system/node", r"node\d+")
    ] or [("node0", "/sys/kernel/mm/hugepages")]
    found = []
    seen = 0
    for node, base in pools:
        for name in names(root, base, r"hugepages-\d+kB"):
            total = read_text(root, f"{base}/{name}/nr_hugepages")
            free = read_text(root, f"{base}/{name}/free_hugepages")
            seen += total is not None
            if total and total != "0":
                found.append(f"{node} {name.removeprefix('hugepages-')}: {total}, {free} free")
    if not seen:
        return Fact("hugetlb_pools", _UNKNOWN, f"no {pools[0][1]}")
    where = "/sys/devices/system/node/node*/hugepages" if len(pools) > 1 else pools[0][1]
    return Fact("hugetlb_pools", "; ".join(found) or "none", where)


def cpu_clearing(root: Root) -> tuple[Fact, ...]:
    """Return the CPU flags that choose how x86 zeroes a page; empty without x86 flags.

    They are ``cpu_erms``, ``cpu_fsrm`` and ``cpu_rep_good``.
    """
    flags = cpu_flags(read_text(root, "/proc/cpuinfo"))
    if flags is None:
        return ()
    return tuple(
        Fact(f"cpu_{flag}", "yes" if flag in flags else "no", "/proc/cpuinfo flags") for flag in _CPU_FLAGS
    )


def cpu_flags(cpuinfo: str | None) -> frozenset[str] | None:
    """Return the x86 flags of /proc/cpuinfo; None on another architecture or if it cannot be read."""
    match = re.search(r"^flags\s*: (.*)$", cpuinfo or "", re.MULTILINE)
    return frozenset(match[1].split()) if match else None


def clocksource(root: Root) -> Fact:
    """Return the clock source in use."""
    base = "/sys/devices/system/clocksource/clocksource0"
    text = read_text(root, f"{base}/current_clocksource")
    return Fact("clocksource", text or _UNKNOWN, f"{base}/current_clocksource")
