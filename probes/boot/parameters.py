# SPDX-License-Identifier: Apache-2.0
"""The kernel parameters with which this kernel records its own boot.

The function tracer runs from early_trace_init() on, before any kprobe, event on
the command line (fs_initcall) or BPF program can (kernel/trace/trace.c).  It gives
a time stamp at entry and nothing else, so the function that is called next is traced
as well: ``__free_pages_ok()`` follows each accept_memory() of a block, and the
time between the two is what the acceptance took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FUNCTIONS: dict[str, str] = {
    "accept_memory": "every acceptance, by start",
    "tdx_accept_memory": "what TDX was asked to accept",
    "snp_accept_memory": "what SEV-SNP was asked to accept",
    "__accept_page": "one block of MAX_PAGE_ORDER taken off the unaccepted list",
    "__free_pages_ok": "follows an accept: its end",
    "page_alloc_init_late": "start of deferred struct page initialisation",
    "deferred_init_memmap": "its thread on each node",
    "deferred_init_memmap_chunk": "a piece of it, on each CPU that helps",
    "padata_do_multithreaded": "the pieces being handed out",
    "memblock_discard": "end of it",
    "smp_init": "other CPUs come up",
}
"""The functions that are traced, and what each shows.  try_accept_one() is left out: it is called
512 times for 2 MiB where the host maps 4 KiB pages, and would fill the buffer."""

RECORD_BYTES = 28
"""Size of one function entry in the ring buffer, bytes: struct ftrace_entry and its header."""
BLOCK = 4 << 20
_LEAST_MIB, _MOST_MIB = 2, 64
_SPARE = 3


@dataclass(frozen=True)
class Function:
    """A function that might be traced: ``state`` is traceable, init, notrace, absent or unknown."""

    name: str
    state: str
    gives: str

    @property
    def wanted(self) -> bool:
        """Whether the function belongs on the command line."""
        return self.state in ("traceable", "init", "unknown")


@dataclass(frozen=True)
class Parameter:
    """One kernel parameter, what it gives and what it costs."""

    text: str
    gives: str
    cost: str = ""

    @property
    def name(self) -> str:
        return self.text.partition("=")[0]


@dataclass(frozen=True)
class Kernel:
    """What the choice of parameters depends on."""

    functions: tuple[Function, ...]
    config: Mapping[str, str]
    """CONFIG_ options; empty where unknown."""
    cpus: int
    memory_bytes: int | None
    efi: bool
    accepts: bool | None
    """Whether the kernel supports unaccepted memory; None if unknown."""
    x86: bool = True


def traceable(
    name: str, filter_functions: bytes | None, symbols: Mapping[str, int], init: tuple[int, int]
) -> Function:
    """Return the Function of ``name``, whose state says whether it can be traced at boot.

    available_filter_functions loses the functions that were freed after boot, so
    one that it lacks but whose address is in ``init`` (_sinittext to _einittext)
    may still be traced while it exists.  Other functions with a symbol are "unknown"
    without that list, or without addresses (kptr_restrict).  So is a function that the
    list lacks where no symbols are known.
    """
    gives = FUNCTIONS[name]
    if filter_functions is not None and b"\n" + name.encode() + b"\n" in b"\n" + filter_functions:
        return Function(name, "traceable", gives)
    if name not in symbols:
        return Function(name, "absent" if symbols else "unknown", gives)
    address = symbols[name]
    if init[0] <= address < init[1] and address:
        return Function(name, "init", gives)
    if filter_functions is None or not any(init):
        return Function(name, "unknown", gives)
    return Function(name, "notrace", gives)


def parameters(kernel: Kernel) -> tuple[Parameter, ...]:
    """Return the parameters in the order in which they are written.

    Without the function tracer, only those for the kernel log are left, if any.
    """
    if kernel.config.get("CONFIG_FUNCTION_TRACER") == "n":
        return _without_ftrace(kernel)
    wanted = [f.name for f in kernel.functions if f.wanted]
    size = buffer_mib(kernel.memory_bytes, kernel.cpus)
    found = [
        Parameter(
            "ftrace=function",
            "the function tracer, from ftrace_init() on",
            "runs until `echo nop > current_tracer` or the next boot",
        ),
        Parameter(
            f"ftrace_filter={','.join(wanted)}",
            "only these functions",
            "28 bytes, and the tracer's time, for each call of one of them",
        ),
        Parameter(
            "trace_event=initcall,printk",
            "each initcall's start and end; the log's lines on the trace's clock, to place the log by",
            "about 150 bytes for each",
        ),
        Parameter(
            "trace_clock=local",
            "sched_clock(): until late in the boot CLOCK_MONOTONIC and the log's clock go by jiffies,"
            " which are lost while accepting",
        ),
        Parameter(
            f"trace_buf_size={size}M",
            f"room for {size * 2**20 // RECORD_BYTES // 1000} thousand entries on each CPU",
            f"{size} MiB on each of {kernel.cpus} CPUs, which a lazy boot has to accept first",
        ),
        Parameter("trace_options=nooverwrite", "a full buffer keeps the boot and drops what comes later"),
    ]
    return (*found, *_log(kernel))


def _without_ftrace(kernel: Kernel) -> tuple[Parameter, ...]:
    return _log(kernel)


def _log(kernel: Kernel) -> tuple[Parameter, ...]:
    found = []
    if kernel.config.get("CONFIG_PRINTK_TIME", "y") == "n":
        found.append(Parameter("printk.time=1", "time stamps in the kernel log"))
    if kernel.efi and kernel.accepts is not False and kernel.x86:
        found.append(
            Parameter(
                "efi=debug",
                "the firmware's memory map in the kernel log: what it left unaccepted, by range",
                "a line for each range",
            )
        )
    return tuple(found)


def buffer_mib(memory_bytes: int | None, cpus: int) -> int:
    """Return the size of the buffer on each CPU, MiB: a power of two from 2 to 64.

    Each block of 4 MiB makes three entries; in the worst case, one CPU accepts them
    all.  The size is three times what that needs, or 16 where the size of memory is unknown.
    """
    if memory_bytes is None:
        return 16
    needed = memory_bytes / BLOCK * _SPARE * RECORD_BYTES * _SPARE / 2**20
    size = _LEAST_MIB
    while size < min(needed, _MOST_MIB):
        size *= 2
    return size


def unseen(kernel: Kernel) -> tuple[str, ...]:
    """Return, in sentences, what cannot be seen of this kernel's boot even with the parameters."""
    said = [
        "What firmware and the EFI stub accept happens before the kernel's first time stamp;"
        " only its amount can be known, from the memory map that efi=debug prints.",
        "What memblock accepts before ftrace_init() (memmap, swiotlb, percpu) is traced by nobody;"
        " its amount follows from the counters.",
    ]
    deferred = kernel.config.get("CONFIG_DEFERRED_STRUCT_PAGE_INIT")
    if deferred == "n":
        said.append(
            "CONFIG_DEFERRED_STRUCT_PAGE_INIT is not set: with accept_memory=eager all acceptance is in"
            " memblock_free_all(), before ftrace_init(), and no tracer sees it; the kernel log brackets it."
        )
    elif deferred is None:
        said.append(
            "The kernel's configuration is unknown: without CONFIG_DEFERRED_STRUCT_PAGE_INIT no tracer"
            " sees the acceptance of a boot with accept_memory=eager."
        )
    if kernel.config.get("CONFIG_FUNCTION_TRACER") == "n":
        said.append("CONFIG_FUNCTION_TRACER is not set: before user space only the kernel log tells.")
    else:
        said.append("The function tracer sees no arguments: bytes and nodes come from the counters.")
    missing = [f.name for f in kernel.functions if f.state == "notrace"]
    if missing:
        said.append(f"Built without a trace site on this kernel: {', '.join(missing)}.")
    return tuple(said)


def line(chosen: Sequence[Parameter]) -> str:
    """Return the parameters as they stand on a command line."""
    return " ".join(p.text for p in chosen)
