# SPDX-License-Identifier: Apache-2.0
"""gmem.*: private memory of virtual machines, as the host prepares it (guest_memfd, 6.8 on).

Each event is one function from entry to return, and the times are nested as the head of
gmem.bpf.c says.  What the numbers are:

gmem.fault     kvm_mmu_page_fault(), of VMs that can have private memory.  FAILED: it returned
               an error (to user space, e.g. to convert).  RETRIED: the guest takes it again,
               known from KVM's own counts of what became of its faults.
gmem.get       kvm_gmem_get_pfn(): a look-up, which allocates only where the page is not there.
gmem.zero      the zeroing of a page before its first use, in __kvm_gmem_get_pfn() or between its
               return and the entry of the architecture's hook: see gmem_first.py.
gmem.prepare   the architecture's hook, at the first use of a page; it returns at once for a VM
               that is neither SNP nor TDX.  Where the kernel calls it for every look-up (7.0 on),
               only calls for a first use, that failed, or with a gmem.assign inside are events.
gmem.assign    rmp_make_private() or tdh_mem_page_aug(): its order, 0, 9 or 18, is the level.
gmem.punch     ``bytes`` are those really freed, ``bytes_requested`` is the length of the hole.
gmem.convert   ``bytes`` are those of a call that changed something, 0 (NOOP) for one that did not.
"""

from __future__ import annotations

from memtrace.probes.topics.event import Event

_FIELDS = {"vm": "its number in the run", "vcpu": "whose thread it was", "gfn": "the first guest page"}

EVENTS = (
    Event(
        "gmem.fault",
        "one page fault of a VM that can have private memory",
        ("kvm_mmu_page_fault",),
        about=(
            "Flags tell private memory, faults that failed (they go to user space, for example to "
            "convert) and faults that the guest will take again."
        ),
        sites=("fentry", "kprobe", "rawtp"),
        inside=("gmem.get", "gmem.zero", "gmem.prepare", "gmem.assign"),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.get",
        "one page of a guest_memfd looked up or made for a guest",
        ("kvm_gmem_get_pfn",),
        about=("It lies inside a gmem.fault or gmem.prefault and is no allocation by itself."),
        inside=("alloc", "gmem.zero", "gmem.prepare"),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.map",
        "one page of a guest_memfd given to user space that has mapped it",
        ("kvm_gmem_fault_user_mapping",),
        about="Shared memory can be mapped (GUEST_MEMFD_FLAG_MMAP, 6.18 on); its first touch zeroes it.",
        inside=("alloc", "gmem.zero"),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.zero",
        "one folio of a guest_memfd zeroed before its first use",
        ("__kvm_gmem_get_pfn",),
        about=(
            "Kernels zero it in kvm_gmem_get_pfn(), from the return of __kvm_gmem_get_pfn() to the hook of "
            "gmem.prepare, or inside __kvm_gmem_get_pfn(); which it was is told page by page. Where "
            "neither can be told from a later look-up there is no site."
        ),
        begins="the return of the look-up of a folio that is not up to date",
        ends="when it is zeroed, and some ns of checks",
        sites=("either",),
        needs=("gmem.get", "gmem.map"),
        witness="pages of guests looked up for the first time",
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.prepare",
        "one folio made private by the architecture's hook",
        ("kvm_arch_gmem_make_private", "kvm_arch_gmem_prepare"),
        about=(
            "Newer kernels call it for every look-up: only calls at the first use of a page count, that "
            "failed, or in which a page was assigned. For a VM that is neither SEV-SNP nor TDX it returns "
            "at once."
        ),
        needs=("gmem.get",),
        inside=("gmem.assign",),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.assign",
        "one page given to a guest in the RMP or the secure EPT",
        ("tdh_mem_page_aug", "rmp_make_private"),
        about=("Its order is the level: 0, 9 or 18."),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.split",
        "one 2 MiB entry of the RMP split into 4 KiB ones (PSMASH)",
        ("psmash",),
        sites=("fentry", "kprobe", "rawtp"),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.allocate",
        "one range of a guest_memfd preallocated",
        ("kvm_gmem_fallocate",),
        about=("Its bytes are those by which the file grew."),
        inside=("alloc",),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.punch",
        "one hole punched into a guest_memfd",
        ("kvm_gmem_fallocate",),
        about=("Its bytes are those freed, and the length of the hole is in bytes_requested."),
        inside=("gmem.free",),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.free",
        "one folio of a guest_memfd given back",
        ("kvm_gmem_free_folio",),
        about=("In a hole, or when the file goes."),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.convert",
        "one call that makes guest memory private or shared",
        ("kvm_vm_ioctl",),
        about=(
            "KVM_SET_MEMORY_ATTRIBUTES, to private or to shared; a call that changes nothing is marked "
            "so. Where the kernel converts by an ioctl of the guest_memfd itself "
            "(kvm.gmem_in_place_conversion) there is no site."
        ),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.populate",
        "one range filled with initial contents",
        ("kvm_gmem_populate",),
        fields=_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.prefault",
        "one KVM_PRE_FAULT_MEMORY call",
        ("kvm_vcpu_ioctl",),
        fields=_FIELDS,
        asked=True,
    ),
)
"""Their numbers are consecutive: gmem.bpf.c compares them."""
BY_NAME = {event.name: event for event in EVENTS}
