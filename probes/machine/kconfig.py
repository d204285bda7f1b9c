# SPDX-License-Identifier: Apache-2.0
"""The configuration the running kernel was built with."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass

from memtrace.probes.machine.sources import Root, read_bytes, read_text, uname

CONFIG_NAMES: tuple[str, ...] = (
    # what can be hooked
    "CONFIG_KPROBES",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_KPROBE_EVENTS_ON_NOTRACE",
    "CONFIG_FUNCTION_TRACER",
    "CONFIG_DYNAMIC_FTRACE",
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
    "CONFIG_FPROBE",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_EVENTS",
    "CONFIG_BPF_JIT",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_KALLSYMS",
    "CONFIG_KALLSYMS_ALL",
    "CONFIG_BOOT_CONFIG",
    "CONFIG_BOOTTIME_TRACING",
    "CONFIG_ACPI_FPDT",
    "CONFIG_SECURITY_LOCKDOWN_LSM",
    # what zeroing and allocation mean
    "CONFIG_INIT_ON_ALLOC_DEFAULT_ON",
    "CONFIG_INIT_ON_FREE_DEFAULT_ON",
    "CONFIG_PAGE_POISONING",
    "CONFIG_KASAN",
    "CONFIG_DEBUG_PAGEALLOC",
    "CONFIG_PAGE_OWNER",
    "CONFIG_DEBUG_VM",
    "CONFIG_MEMCG",
    "CONFIG_CMA",
    "CONFIG_KVM",
    "CONFIG_LRU_GEN",
    "CONFIG_TRANSPARENT_HUGEPAGE",
    "CONFIG_HUGETLBFS",
    # acceptance, boot and hotplug
    "CONFIG_DEFERRED_STRUCT_PAGE_INIT",
    "CONFIG_UNACCEPTED_MEMORY",
    "CONFIG_INTEL_TDX_GUEST",
    "CONFIG_AMD_MEM_ENCRYPT",
    "CONFIG_MEMORY_HOTPLUG",
    "CONFIG_MEMORY_HOTREMOVE",
    "CONFIG_MHP_MEMMAP_ON_MEMORY",
    "CONFIG_SPARSEMEM_VMEMMAP",
    "CONFIG_PADATA",
    # topology and scheduling
    "CONFIG_NUMA",
    "CONFIG_NODES_SHIFT",
    "CONFIG_NUMA_BALANCING",
    "CONFIG_PREEMPT",
    "CONFIG_PREEMPT_NONE",
    "CONFIG_PREEMPT_VOLUNTARY",
    "CONFIG_PREEMPT_LAZY",
    "CONFIG_PREEMPT_DYNAMIC",
    "CONFIG_PREEMPT_RT",
    "CONFIG_HZ",
    "CONFIG_PARAVIRT_TIME_ACCOUNTING",
    "CONFIG_DYNAMIC_MEMORY_LAYOUT",
    "CONFIG_RANDOMIZE_BASE",
    # code generation, which decides what is inlined
    "CONFIG_LTO_CLANG_THIN",
    "CONFIG_LTO_CLANG_FULL",
    "CONFIG_AUTOFDO_CLANG",
)


@dataclass(frozen=True)
class KernelConfig:
    """The kernel configuration: the file it came from (None if none was found) and all that it sets."""

    source: str | None
    options: Mapping[str, str]

    def chosen(self) -> dict[str, str]:
        """Return CONFIG_NAMES mapped to y, m, n or a value; empty if there is no configuration to read.

        An option that the file does not set, or that this kernel does not know, is n.
        """
        if self.source is None:
            return {}
        return {name: self.options.get(name, "n") for name in CONFIG_NAMES}


def release(root: Root = "/") -> str:
    """Return what ``uname -r`` prints; for a recorded tree, what its /proc says, or "" without it."""
    return uname(root, "release")


def kernel_config(root: Root = "/") -> KernelConfig:
    """Return the configuration of the running kernel, from the first of the usual places that has it.

    Its ``source`` is None if none of them does.
    """
    packed = read_bytes(root, "/proc/config.gz")
    if packed is not None:
        try:
            return KernelConfig("/proc/config.gz", parse_config(gzip.decompress(packed).decode()))
        except (OSError, EOFError, ValueError):
            pass
    name = release(root)
    for path in (
        f"/boot/config-{name}",
        f"/lib/modules/{name}/config",
        f"/usr/lib/modules/{name}/config",
        f"/lib/modules/{name}/build/.config",
    ):
        text = read_text(root, path) if name else None
        if text:
            return KernelConfig(path, parse_config(text))
    return KernelConfig(None, {})


def parse_config(text: str) -> dict[str, str]:
    """Parse ``CONFIG_A=y`` and ``# CONFIG_B is not set`` (n) lines; quotes around strings are dropped."""
    out = {m[1]: m[2].strip('"') for m in re.finditer(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE)}
    out.update((m[1], "n") for m in re.finditer(r"^# (CONFIG_\w+) is not set$", text, re.MULTILINE))
    return out
