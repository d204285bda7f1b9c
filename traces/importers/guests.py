# SPDX-License-Identifier: Apache-2.0
"""What kvm:kvm_page_fault's error code says of a fault, alone and together with the VM's other faults.

The tracepoint prints the address and the error code as the hardware gave them, which is
different things (arch/x86/kvm):

- AMD with nested paging: a guest-physical address; the code has bit 32 or 33
  (PFERR_GUEST_FINAL_MASK, PFERR_GUEST_PAGE_MASK).
- Intel with EPT: a guest-physical address; the code is the exit qualification, of which bit 7
  says that there is a linear address too (EPT_VIOLATION_GVA_IS_VALID).  A TD's has neither.
- Shadow paging: the linear address that the guest used, and the page-fault error code of
  the CPU, whose bits are below these.

Bit 49 is KVM's own (PFERR_PRIVATE_ACCESS): the memory is private.  Bit 34 is the hardware's
(PFERR_GUEST_ENC_MASK): the guest's page table had the C-bit.  It has it also in VMs without
private memory, SEV and SEV-ES, so that it means private in an SNP guest alone.  That a VM is one
is known where KVM's bit, the RMP's (bit 31) or kvm:kvm_rmp_fault is seen of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memtrace.traces.importers.fields import PAGE, Values, number, words
from memtrace.traces.importers.occurrence import Occurrence
from memtrace.traces.schema import Flag

_PRIVATE_ACCESS = 1 << 49
_ENCRYPTED = 1 << 34
_RMP = 1 << 31
_NESTED = 1 << 33 | 1 << 32 | 1 << 7
"""With any of these the address is a guest-physical one."""
_PHYSICAL = 1 << 52
"""Bytes that a page table can address: what is above can only be a linear address."""
_USER = range(1 << 46, 1 << 47)
"""The upper half of the addresses of a process, where its stack and libraries are.  No guest's
memory is that high, and a TD marks what it shares with bit 47 or 51."""

Guest = tuple[str, int | None]
"""How the occurrences of one VM are told from those of others: its process, else the thread."""


@dataclass(frozen=True)
class Guests:
    """What is known of the VMs that a file has faults of."""

    snp: frozenset[Guest] = frozenset()
    """Guests with SEV-SNP."""
    shadowed: frozenset[Guest] = frozenset()
    """Guests that have had faults of shadow paging."""


def guest_of(occurrence: Occurrence) -> Guest:
    """The VM of a fault, as far as its line tells."""
    return ("thread", occurrence.tid) if occurrence.pid is None else ("process", occurrence.pid)


def known(occurrences: Iterable[Occurrence]) -> Guests:
    """What the faults of a file tell of their VMs."""
    snp: set[Guest] = set()
    shadowed: set[Guest] = set()
    for occurrence in occurrences:
        if occurrence.topic.event == "gmem.split":
            snp.add(guest_of(occurrence))
        elif occurrence.topic.event == "gmem.fault":
            address, code = _printed(occurrence)
            if code & (_PRIVATE_ACCESS | _RMP):
                snp.add(guest_of(occurrence))
            if address is not None and _is_linear(address, code):
                shadowed.add(guest_of(occurrence))
    return Guests(frozenset(snp), frozenset(shadowed))


def told(occurrence: Occurrence, guests: Guests | None) -> Values:
    """Guest page and flags of a fault.

    Without the flag of private memory it is not known what memory it was: KVM may find later that
    it is private.  Without a page, the address was not that of guest memory.
    """
    guests, guest = guests or Guests(), guest_of(occurrence)
    address, code = _printed(occurrence)
    private = bool(code & _PRIVATE_ACCESS) or (guest in guests.snp and bool(code & _ENCRYPTED))
    if address is None or _is_linear(address, code) or (guest in guests.shadowed and not code & _NESTED):
        return {"gfn": None, "flags": Flag.PRIVATE * private}
    return {"gfn": address // PAGE, "flags": Flag.PRIVATE * private}


def _printed(occurrence: Occurrence) -> tuple[int | None, int]:
    """Address and error code of kvm_page_fault; older kernels print no 0x before numbers."""
    fields = words(occurrence.entry)
    return number(fields, "address", 16), number(fields, "error_code", 16) or 0


def _is_linear(address: int, code: int) -> bool:
    """Whether an address can only be one of the guest's own, of shadow paging."""
    return address >= _PHYSICAL or (not code & _NESTED and address in _USER)
