# SPDX-License-Identifier: Apache-2.0
"""Everything the ladder and the programs must know of this kernel, gathered once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.machine import tracefs
from memtrace.probes.machine.kernel import SystemDescription
from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.symbols import SymbolTable
from memtrace.traces.derived import GFP_ZERO, allocator_zeroes, answer, interrupts_off, tells_zeroing

_MM_PAGE_ALLOC = "events/kmem/mm_page_alloc"


def possible(path: str) -> int:
    """Return one more than the highest number in the kernel range list, such as ``0-3,8``, of a file."""
    text = Path(path).read_text().strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


@dataclass(frozen=True)
class System:
    """A view of the running kernel; each part is read on first use."""

    init_on_alloc: bool | None
    init_on_free: bool | None
    """Whether they are on; None where nothing tells."""
    config: dict[str, str]
    confidential: str = "unknown"
    """TDX, SEV-SNP, …, plain or unknown, as the fact "confidential" says."""
    preempt_rt: bool | None = None
    """Whether the kernel is PREEMPT_RT; None where nothing tells."""
    own_pids: bool = False
    """Whether this process is in a PID namespace of its own."""

    @classmethod
    def of(cls, description: SystemDescription) -> System:
        """Return the view of the kernel that ``description`` describes."""
        facts = {fact.name: fact.value for fact in description.facts}
        return cls(
            init_on_alloc=answer(description.facts, "init_on_alloc"),
            init_on_free=answer(description.facts, "init_on_free"),
            config=description.config,
            confidential=facts.get("confidential", "unknown"),
            preempt_rt=answer(description.facts, "preempt_rt"),
            own_pids=facts.get("pid_namespace") == "own",
        )

    def release(self) -> None:
        """Free the texts of symbols and tracefs, which only choosing sites needs.

        What is asked for later is read again.
        """
        self.gfp_names  # noqa: B018  (cached before its text goes)
        for name in ("symbols", "tracefs"):
            self.__dict__.pop(name, None)

    @cached_property
    def symbols(self) -> SymbolTable:
        return SymbolTable.read()

    @cached_property
    def btf(self) -> Btf | None:
        return Btf.load()

    @cached_property
    def kvm_btf(self) -> Btf | None:
        """BTF with KVM's types: the kernel's own where KVM is built in, else its module's; or None."""
        module = self.symbols.module_of("kvm_vcpu_ioctl")
        return self.btf if module is None else Btf.load(module)

    @cached_property
    def cpus(self) -> int:
        """Number of possible CPUs, as BPF's per-CPU maps count them."""
        return possible("/sys/devices/system/cpu/possible")

    @cached_property
    def nids(self) -> int:
        """Number of possible NUMA nodes; 1 where the kernel has no such list."""
        try:
            return possible("/sys/devices/system/node/possible")
        except OSError:
            return 1

    @cached_property
    def tracefs(self) -> dict[str, bytes]:
        return tracefs.read(
            ("available_filter_functions", f"{_MM_PAGE_ALLOC}/format", f"{_MM_PAGE_ALLOC}/id")
        )

    @property
    def filter_functions(self) -> bytes | None:
        """Text of available_filter_functions; None where the kernel withholds it."""
        return self.tracefs.get("available_filter_functions")

    @property
    def mm_page_alloc_id(self) -> int | None:
        """Number of the tracepoint kmem:mm_page_alloc; None if tracefs is out of reach."""
        text = self.tracefs.get(f"{_MM_PAGE_ALLOC}/id")
        return int(text) if text else None

    @cached_property
    def gfp_names(self) -> dict[str, int]:
        """gfp bits by name, as this kernel numbers them; empty if tracefs is out of reach."""
        text = self.tracefs.get(f"{_MM_PAGE_ALLOC}/format")
        return tracefs.gfp_names(text.decode()) if text else {}

    @cached_property
    def zero_gfp(self) -> int:
        """Value of __GFP_ZERO: 0x100 in every kernel from 4.x on, unless this one says otherwise."""
        return self.gfp_names.get("__GFP_ZERO", GFP_ZERO)

    def zeroes(self, asked: bool) -> bool | None:
        """Return whether the allocator zeroes for a request with (``asked``) or without __GFP_ZERO."""
        return allocator_zeroes(asked, self.init_on_alloc, self.init_on_free)

    @property
    def tells_zeroing(self) -> bool:
        """Whether it is known of every request whether the allocator zeroes for it."""
        return tells_zeroing(self.init_on_alloc, self.init_on_free)

    @cached_property
    def vmemmap_base(self) -> int | None:
        """Address of the struct page of pfn 0; if it is None, probes/sites/pfn.py learns it."""
        return self._variable("vmemmap_base")

    @cached_property
    def page_offset(self) -> int | None:
        """Address at which physical memory is mapped (page_offset_base); None if it can't be read."""
        return self._variable("page_offset_base")

    @cached_property
    def unaccepted_address(self) -> int | None:
        """Address of the count of unaccepted pages, vm_zone_stat[NR_UNACCEPTED] (mm/vmstat.c), or None."""
        symbol = self.symbols.one("vm_zone_stat")
        item = self.btf.enumerator("NR_UNACCEPTED", "zone_stat_item") if self.btf else None
        return None if symbol is None or item is None else symbol.address + 8 * item

    @cached_property
    def counts_skipped_kprobes(self) -> bool:
        """Whether the kernel counts the kprobe programs that it skips because one runs on the CPU.

        It does from 6.7 on (dd8657894c11, trace_call_bpf()).  The same series added ``missed`` to
        struct bpf_link_info (e2b2cd592adf), by which it is known; before, it skips silently.
        """
        return bool(self.btf and self.btf.offset_of("bpf_link_info", "kprobe_multi.missed") is not None)

    @cached_property
    def cgroups(self) -> bool:
        """Whether the kernel was built with cgroups, and so can tell BPF the cgroup of a task."""
        return re.search(r"^nodev\tcgroup2$", Path("/proc/filesystems").read_text(), re.M) is not None

    def _pid_offsets(self, btf: Btf) -> dict[str, int | None]:
        """Return the macros of probes/bpf/pidns.h; raises MemtraceError if one is not known."""
        offsets = {
            "MT_TASK_THREAD_PID": btf.offset_of("task_struct", "thread_pid"),
            "MT_TASK_LEADER": btf.offset_of("task_struct", "group_leader"),
            "MT_PID_LEVEL": btf.offset_of("pid", "level"),
            "MT_PID_NUMBERS": btf.offset_of("pid", "numbers"),
            "MT_UPID_SIZEOF": btf.size_of("upid"),
            "MT_UPID_NR": btf.offset_of("upid", "nr"),
            "MT_UPID_NS": btf.offset_of("upid", "ns"),
        }
        if None in offsets.values():
            raise MemtraceError(
                "this kernel's BTF lacks what a PID namespace looks like: record outside the container"
            )
        return {"MT_PIDNS": 1, **offsets}

    def _variable(self, name: str) -> int | None:
        """Return the value of a 64-bit kernel variable, or None if it can't be read.

        CONFIG_KALLSYMS_ALL shows its address, and kcore what it holds.
        """
        from memtrace.probes.sites import code

        symbol = self.symbols.one(name)
        data = code.read_text(symbol) if symbol is not None and symbol.end > symbol.address else None
        return int.from_bytes(data[:8], "little") if data and len(data) >= 8 else None

    def macros(self) -> dict[str, str]:
        """Return the macros (-D) of probes/bpf/common.h that describe this kernel, with their values."""
        numbers: dict[str, int | None] = {
            "MT_NIDS": self.nids,
            "MT_ZERO_GFP": self.zero_gfp,
            "MT_MOVABLE_GFP": self.gfp_names.get("__GFP_MOVABLE", 0x8),
            "MT_ZEROES_ASKED": int(self.zeroes(True) is True),
            "MT_ZEROES_OTHERS": int(self.zeroes(False) is True),
            "MT_ACCEPTS_IRQS_OFF": int(interrupts_off(True, self.preempt_rt) is True),
        }
        if self.page_offset is not None:
            numbers["MT_PAGE_OFFSET"] = self.page_offset
        if self.unaccepted_address is not None:
            numbers["MT_NR_UNACCEPTED"] = self.unaccepted_address
        if self.cgroups:
            numbers["MT_CGROUPS"] = 1
        if self.btf is not None:
            btf = self.btf
            numbers |= {
                "MT_PAGE_SIZEOF": btf.size_of("page"),
                "MT_PAGE_FLAGS": btf.offset_of("page", "flags"),
                "MT_FOLIO_FLAGS_1": btf.offset_of("folio", "_flags_1"),
                "MT_PG_HEAD": btf.enumerator("PG_head", "pageflags"),
                "MT_TASK_PID": btf.offset_of("task_struct", "pid"),
                "MT_TASK_TGID": btf.offset_of("task_struct", "tgid"),
                **(self._pid_offsets(btf) if self.own_pids else {}),
                "MT_AC_ZONEREF": btf.offset_of("alloc_context", "preferred_zoneref"),
                "MT_ZONEREF_ZONE": btf.offset_of("zoneref", "zone"),
                "MT_ZONE_NODE": btf.offset_of("zone", "node"),
            }
            if self.nids > 1 and btf.nodes_shift:
                numbers["MT_NID_SHIFT"] = 64 - btf.nodes_shift
        if self.nids == 1:
            numbers["MT_ONE_NODE"] = 1
        return {
            name: f"{value}{'ULL' if value >= 1 << 31 else ''}"
            for name, value in numbers.items()
            if value is not None
        }
